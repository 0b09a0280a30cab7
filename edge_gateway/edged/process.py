"""Plain processes as containers: what a gateway has where no Podman is installed.

A container is its `command`, in a session of its own, with the machine's files, users and network: there are no images.
The keeper (`keeper.py`) is the parent of all, reached by `keeper_link.py`. Where edgecore may (as root), a container gets its
volumes at their paths in a mount namespace of its own, its user and groups, and a cgroup with its limits; what cannot be given is
refused.

edgecore may go and come back: the keeper says what runs. When the keeper itself is gone, the processes it left are found by
number and time of their start, and ended, for nobody would hear them any more.
"""

import asyncio
import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_gateway.edged import identity, keeper
from edge_gateway.edged.cgroups import PIDS, Cgroups
from edge_gateway.edged.container_life import UNKNOWN, UNKNOWN_CODE
from edge_gateway.edged.isolation import process_refusals
from edge_gateway.edged.keeper_link import KeeperLink
from edge_gateway.edged.pods import MESSAGE_PATH, Container, Pod
from edge_gateway.edged.process_session import ProcessSession
from edge_gateway.edged.runtime import CannotStart, Exit, Processes, RunId, Running, RuntimeTrouble, StartOrder

log = logging.getLogger(__name__)

LOG_BYTES = 10 * 1024 * 1024
"""Of one container's log on disk, both files together."""
OUTPUT_BYTES = 10 * 1024
"""Of what a command beside a container says, at most (kubelet's figure for probes)."""
LIMITS = {
    "RLIMIT_CORE": 0,
    "RLIMIT_NOFILE": min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    "RLIMIT_NPROC": PIDS,  # of all processes of a user; root is exempt, and has the cgroup
}
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{Path(sys.executable).parent}"
"""The machine's, and last the folder of the gateway's own commands: a mapper's pod says `command: [mapper]` on any gateway."""


class ProcessRuntime:
    """A `runtime.Runtime`."""

    name = "process"

    def __init__(self, folder: Path, cgroups: Cgroups, *, root: bool | None = None) -> None:
        """`folder` is the keeper's; `root` says whether mounts and users are possible, which depends on who runs this."""
        self._cgroups = cgroups
        self._root = os.geteuid() == 0 if root is None else root
        self._exited: Callable[[RunId, Exit], None] = lambda id, exit: None
        self._alive: dict[RunId, dict[str, Any]] = {}
        self._starting: set[RunId] = set()
        """Asked for, and not over as far as was heard: the end of a short run is heard before its start is taken note of."""
        self._keeper = KeeperLink(folder, self._has_exited, self._lost)

    # What it cannot give

    def refusals(self, pod: Pod) -> list[str]:
        """What a pod asks for that plain processes cannot have."""
        found = [*process_refusals(pod)]
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            found += [f"container {container.name!r}: {why}" for why in self._container_refusals(pod, container)]
        return found

    def _container_refusals(self, pod: Pod, container: Container) -> list[str]:
        found = []
        security = container.security_context
        if not container.command:
            found.append("it has no `command`, and this node runs plain processes: it has no images")
        if security.read_only_root_filesystem:
            found.append("readOnlyRootFilesystem: plain processes see the machine's own files")
        if security.capabilities.add:
            found.append("capabilities.add: plain processes have those of their user")
        user = identity.user_of(pod, container)
        if not self._root:
            if user not in (None, os.geteuid()) or pod.spec.security_context.supplemental_groups:
                found.append(f"runAsUser {user}: edgecore is not root and runs everything as {os.geteuid()}")
            if security.privileged:
                found.append("privileged: edgecore is not root")
            mounts = identity.to_mount(pod, container)
            found += [f"volumeMounts: {where}: edgecore is not root and cannot mount" for where in mounts]
            if container.termination_message_path != MESSAGE_PATH:
                found.append("terminationMessagePath: edgecore is not root and cannot mount")
        if identity.must_not_be_root(pod, container) and (user == 0 or (user is None and self._root)):
            found.append("runAsNonRoot: it would run as root; say runAsUser")
        return found

    # The keeper

    async def open(self, exited: Callable[[RunId, Exit], None]) -> list[Running]:
        """Find the keeper, or start one: every run it has, and those a keeper before it left. Raises RuntimeTrouble."""
        self._exited = exited
        known: dict[RunId, dict[str, Any]] = {}
        if await self._keeper.connect(start=False):
            try:
                runs = await self._keeper.list()
            except RuntimeTrouble:
                await self.close()
                raise
            known = {RunId.parse(run["id"]): run for run in runs}
        self._alive = {id: run for id, run in known.items() if run["exit"] is None}
        self._cgroups.sweep()
        for id, run in self._keeper.notes().items():
            if id not in known:
                known[id] = await self._left_behind(run)
        return [Running(id, run["at"], self._exit(id, run)) for id, run in known.items()]

    async def _left_behind(self, run: dict[str, Any]) -> dict[str, Any]:
        """A run whose keeper is gone: what is left of it is ended."""
        if run["exit"] is None:
            if run["boot"] == keeper.boot_id() and keeper.started_ticks(run["pid"]) == run["started"] != 0:
                log.warning("= process without its keeper is ended run=%s pid=%d", run["id"], run["pid"])
                keeper.kill_all(run["pid"], run["cgroup"], signal.SIGKILL)
            run = {**run, "exit": {"code": UNKNOWN_CODE, "at": run["at"], "unseen": True}}
        return run

    def _has_exited(self, run: dict[str, Any]) -> None:
        id = RunId.parse(run["id"])
        self._alive.pop(id, None)
        self._starting.discard(id)
        if (exit := self._exit(id, run)) is not None:
            self._exited(id, exit)

    def _lost(self) -> None:
        """The keeper is gone: so is everything it kept."""
        log.warning("= keeper lost runs=%d", len(self._alive))
        lost, self._alive = self._alive, {}
        for id, run in lost.items():
            if keeper.started_ticks(run["pid"]) == run["started"] != 0:
                keeper.kill_all(run["pid"], run.get("cgroup", ""), signal.SIGKILL)
            self._exited(id, Exit(UNKNOWN_CODE, time.time(), UNKNOWN, "its keeper is gone"))

    def _exit(self, id: RunId, run: dict[str, Any]) -> Exit | None:
        exit = run["exit"]
        if exit is None:
            return None
        if exit.get("unseen"):
            return Exit(exit["code"], exit["at"], UNKNOWN, "it ended while nobody looked")
        killed = exit["code"] == 128 + signal.SIGKILL and self._cgroups.out_of_memory(str(id))
        self._cgroups.remove(str(id))
        return Exit(exit["code"], exit["at"], "OOMKilled" if killed else "")

    # Runs

    async def prepare(self, pod: Pod) -> None:
        """Nothing: containers share the machine."""

    def address(self, uid: str) -> str:
        """None of its own."""
        return ""

    async def network(self, pod: Pod) -> str:
        """The machine's."""
        return ""

    async def remove(self, uid: str) -> None:
        """Nothing."""

    async def start(self, order: StartOrder) -> float:
        """Start a run: when. Raises CannotStart, RuntimeTrouble."""
        mounts = self._mounts_of(order)
        await self._have_keeper(mounts)
        try:
            cgroup = self._cgroups.make(str(order.id), order.container.resources.limits)
        except OSError as error:
            raise RuntimeTrouble(f"cgroup: {error}") from error
        request = {
            "do": "start",
            "id": str(order.id),
            "log": str(order.log),
            "log_bytes": LOG_BYTES,
            "cgroup": cgroup,
            **self._process_of(order, order.command),
            "mounts": mounts,
        }
        if (size := len(json.dumps(request))) >= keeper.REQUEST_LIMIT:
            self._cgroups.remove(str(order.id))
            why = f"arguments and environment of {size} bytes are more than a process can have"
            raise CannotStart(why, keeper.CANNOT)
        self._starting.add(order.id)
        try:
            answer = await self._keeper.ask(str(order.id), request)
            if "error" in answer:
                self._cgroups.remove(str(order.id))
                raise CannotStart(answer["error"], answer["code"])
            if order.id in self._starting:
                self._alive[order.id] = {**answer, "cgroup": cgroup}
        finally:
            self._starting.discard(order.id)
        return float(answer["at"])

    async def _have_keeper(self, mounts: list[list[str]]) -> None:
        """Have one that makes these mounts. Raises RuntimeTrouble."""
        if self._keeper.speaks < keeper.SPEAKS and not self._alive:
            log.info("= keeper of an older edgecore is replaced")
            await self._keeper.dismiss()
        await self._keeper.connect(start=True)
        if self._keeper.speaks < keeper.SPEAKS and any(how != "try" for _, _, how in mounts):
            raise RuntimeTrouble(
                "volumes have to wait for another keeper: the one of an older edgecore, which cannot mount them, is replaced "
                f"once the {len(self._alive)} containers that it has have ended"
            )

    def _process_of(self, order: StartOrder, command: tuple[str, ...]) -> dict[str, Any]:
        """What the keeper makes a process of."""
        pod, container = order.pod, order.container
        user = identity.user_of(pod, container) if self._root else None
        group = identity.group_of(pod, container) if self._root else None
        folder = container.working_dir or "/"
        host = pod.spec.hostname or pod.metadata.name
        env = {"PATH": PATH, "HOSTNAME": host, "HOME": identity.home_of(user), **order.env}
        made: dict[str, Any] = {"argv": [*command], "env": env, "cwd": folder, "limits": LIMITS}
        if not self._root:
            return made
        groups = sorted({*order.groups, *([group] if group is not None else [])})
        becoming, drops = identity.becoming(user, group, groups), identity.drops(container)
        # One setpriv for both: another user has no right to drop anything.
        made["argv"] = [*becoming, *(drops[1:] if becoming else drops), *command]
        return made

    def _mounts_of(self, order: StartOrder) -> list[list[str]]:
        """What is mounted for a run alone: source, path and how (`keeper_mounts.see`)."""
        if not self._root:
            return []
        mounts = [[str(m.source), m.path, "ro" if m.read_only else "rw"] for m in order.mounts]
        mounts = [mount for mount in mounts if mount[0] != mount[1]]
        where = order.container.termination_message_path
        if order.message is not None and where not in [path for _, path, _ in mounts]:
            mounts.append([str(order.message), where, "try"])
        return mounts

    def _beside(self, order: StartOrder, command: tuple[str, ...]) -> dict[str, Any]:
        """The process of a command that sees what a run sees. Raises CannotStart."""
        made, run = self._process_of(order, command), self._alive.get(order.id)
        if not self._root:
            return made
        try:
            if run is None:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            if os.stat(f"/proc/{run['pid']}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino:
                return made
        except OSError as error:
            raise CannotStart(f"exec: {order.container.name} does not run: {error.strerror}") from error
        within = ["nsenter", "--target", str(run["pid"]), "--mount", f"--wdns={made['cwd']}"]
        return {**made, "argv": [*within, *made["argv"]], "cwd": "/"}

    async def signal(self, id: RunId, number: int, *, everything: bool = False) -> None:
        """Send a signal to a run's first process, or to all of them."""
        await self._keeper.send({"do": "signal", "id": str(id), "number": number, "all": everything})

    async def forget(self, id: RunId) -> None:
        """Drop what is known of a run that has ended."""
        self._cgroups.remove(str(id))
        self._keeper.forget_note(id)
        await self._keeper.send({"do": "forget", "id": str(id)})

    async def exec(self, order: StartOrder, command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
        """Run a command with a container's surroundings: exit code and output. Raises TimeoutError, CannotStart."""
        made = self._beside(order, command)
        try:
            process = await asyncio.create_subprocess_exec(
                *made["argv"],
                env=made["env"],
                cwd=made["cwd"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise CannotStart(f"exec: {command[0]!r}: {error}") from error
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                output = b""
                while chunk := await process.stdout.read(OUTPUT_BYTES):
                    output = (output + chunk)[:OUTPUT_BYTES]
                return await process.wait(), output
        finally:
            if process.returncode is None:
                keeper.kill_all(process.pid, "", signal.SIGKILL)
                await process.wait()

    async def talk(self, order: StartOrder, command: tuple[str, ...], *, stdin: bool, tty: bool) -> ProcessSession:
        """Run a command with a container's surroundings, for somebody to talk to. Raises CannotStart."""
        made = self._beside(order, command)
        return await ProcessSession.start(made["argv"], made["env"], made["cwd"], stdin=stdin, tty=tty)

    def processes(self) -> dict[RunId, Processes]:
        """The processes of each run that goes on."""
        return {id: Processes(run["pid"], Path(run.get("cgroup", "")).name) for id, run in self._alive.items()}

    async def close(self, *, for_good: bool = False) -> None:
        """Leave everything running; `for_good` nothing is left once all has ended."""
        if for_good:
            try:
                await self._keeper.send({"do": "end"})
            except RuntimeTrouble as trouble:
                log.warning("= keeper is left reason=%s", trouble)
        await self._keeper.close()
