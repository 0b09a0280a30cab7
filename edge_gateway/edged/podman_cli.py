"""Runs `podman`: one short process for each thing that is asked for, none at rest.

What Podman is set up with comes from its own files, which CONTAINERS_CONF and CONTAINERS_STORAGE_CONF of edgecore's environment
may name; of the rest of that environment it gets what it needs to find them.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edge_gateway.edged.runtime import RuntimeTrouble

ANSWER_S = 120.0
"""For one thing asked for: a machine that is out of breath may take long, but not for ever."""
AT_ONCE = 4
"""Processes of podman at a time; each takes 40 MB for a moment."""
_HANDED_ON = ("HOME", "USER", "LANG", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS", "REGISTRY_AUTH_FILE")
_NO_SUCH = ("no such container", "no such pod", "no container with", "no pod with")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PodmanError(RuntimeTrouble):
    """What podman refused; the text is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        """125: podman itself; 126 and 127: the command cannot be run, or is not there."""


class State(Struct, rename="pascal"):
    """A container's state as podman tells it."""

    status: str = ""
    exit_code: int = 0
    oom_killed: bool = field(name="OOMKilled", default=False)
    started_at: str = ""
    finished_at: str = ""
    conmon_pid: int = 0
    pid: int = 0


class _Network(Struct):
    address: str = field(name="IPAddress", default="")


class _Networks(Struct, rename="pascal"):
    networks: dict[str, _Network] | None = None
    sandbox_key: str = ""


class _Config(Struct, rename="pascal"):
    labels: dict[str, str] | None = None


class _Host(Struct, rename="pascal"):
    memory: int = 0


class Inspected(Struct, rename="pascal"):
    """A container as podman knows it."""

    id: str
    name: str
    state: State
    config: _Config = field(default_factory=_Config)
    host_config: _Host = field(default_factory=_Host)
    network_settings: _Networks = field(default_factory=_Networks)

    @property
    def labels(self) -> dict[str, str]:
        """What it was labelled with."""
        return self.config.labels or {}

    @property
    def address(self) -> str:
        """Its address on its network; empty on the machine's own."""
        networks = (self.network_settings.networks or {}).values()
        return next((network.address for network in networks if network.address), "")

    @property
    def network(self) -> str:
        """The file of its network; empty on the machine's own."""
        return self.network_settings.sandbox_key


_inspected = msgspec.json.Decoder(list[Inspected])


def base_environment() -> dict[str, str]:
    """What podman itself is run with."""
    handed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _HANDED_ON or name.startswith(("CONTAINERS_", "XDG_", "STORAGE_"))
    }
    # The times in logs, which conmon writes, compare as text.
    return {**handed_on, "PATH": os.environ.get("PATH", _PATH), "TZ": "UTC"}


class Podman:
    """The program."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made, and is where it is run: some versions leave files there."""
        self._folder = folder
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """What it prints. Raises PodmanError; RuntimeTrouble when it does not answer."""
        async with self._turns:
            return await self.ask(words, env or {}, ANSWER_S)

    async def ask(self, words: tuple[str, ...], env: Mapping[str, str], timeout_s: float, *, end: bool = False) -> str:
        """The same without waiting for a turn, for what takes long; `end` ends it when nobody waits any more."""
        process = await self.process(*words, env=env)
        try:
            async with asyncio.timeout(timeout_s):
                printed, said = await process.communicate()
        except TimeoutError as error:
            _kill(process)
            raise RuntimeTrouble(f"podman {words[0]} does not answer within {timeout_s:.0f} s") from error
        except asyncio.CancelledError:
            if end:
                _kill(process)
            raise
        if process.returncode:
            raise PodmanError(_why(said.decode(errors="replace")), process.returncode)
        return printed.decode(errors="replace")

    async def process(self, *words: str, env: Mapping[str, str], **more: Any) -> asyncio.subprocess.Process:
        """The process itself, in a session of its own, so that what ends edgecore does not tear it. Raises RuntimeTrouble."""
        streams = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **more}
        try:
            return await asyncio.create_subprocess_exec(
                "podman",
                *words,
                cwd=self.place(),
                env={**base_environment(), **env},
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                **streams,
            )
        except (OSError, ValueError) as error:
            raise RuntimeTrouble(f"podman cannot be started: {error}") from error

    def place(self) -> Path:
        """The folder where it is run. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    async def inspect(self, *names: str) -> list[Inspected]:
        """These containers. Raises PodmanError when one of them is not there."""
        if not names:
            return []
        printed = await self("container", "inspect", *names)
        try:
            return _inspected.decode(printed)
        except msgspec.DecodeError as error:
            raise RuntimeTrouble(f"podman inspect does not make sense: {error}") from error


def is_gone(trouble: RuntimeTrouble) -> bool:
    """Whether podman says that there is no such container, or pod."""
    return any(words in str(trouble).lower() for words in _NO_SUCH)


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _why(said: str) -> str:
    """The last of what it said: before it come warnings and attempts."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    last = lines[errors[-1] if errors else -1 :]  # an error may have several lines
    return (" ".join(last) or "podman failed without a word").removeprefix("Error: ")[:1024]


def version() -> str:
    """The version of the Podman that is installed and can be used by this user. Raises RuntimeTrouble."""
    try:
        done = subprocess.run(
            ["podman", "info", "--format", "{{.Version.Version}}"],
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeTrouble(f"podman cannot be used: {error}") from error
    if done.returncode:
        raise RuntimeTrouble(f"podman cannot be used: {_why(done.stderr)}")
    return done.stdout.strip()
