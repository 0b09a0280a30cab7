"""A command in a container of Podman that somebody talks to, and how such a command is ended.

Who ends `podman exec` ends the messenger alone. What it started is known by a variable of its environment, which it hands on
to all that it starts in turn.
"""

import asyncio
import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path

from edge_gateway.edged.process_session import ProcessSession


def new_mark() -> str:
    """A variable that no other command has, with its value."""
    return f"HEDGEROW_EXEC={secrets.token_hex(16)}"


def kill_marked(mark: str, proc: Path = Path("/proc")) -> None:
    """End everything that has this variable."""
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


def kill_container(id: str, proc: Path = Path("/proc")) -> None:
    """End everything of a container, by the name of its cgroup: what is left where Podman knows of nothing."""
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            if f"libpod-{id}" in (folder / "cgroup").read_text():
                os.kill(int(folder.name), signal.SIGKILL)


class PodmanSession:
    """A `runtime.Session`: that of its messenger."""

    def __init__(self, messenger: ProcessSession, mark: str) -> None:
        self._messenger = messenger
        self._mark = mark
        self.read = messenger.read
        self.write = messenger.write
        self.end_input = messenger.end_input
        self.resize = messenger.resize

    async def close(self) -> int:
        """End it and what it left running: its exit code."""
        code = await self._messenger.close()
        await asyncio.to_thread(kill_marked, self._mark)
        return code
