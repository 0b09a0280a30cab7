"""edgecore's end of the keeper's socket: finds it or starts it, asks it, and hears what it tells. A shell."""

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_gateway.edged import keeper
from edge_gateway.edged.runtime import RunId, RuntimeTrouble

log = logging.getLogger(__name__)

START_S = 10.0
"""For the keeper to come up, or to answer."""

_PEER = struct.Struct("3i")
"""unix(7), struct ucred: process, user and group of who listens."""
_ROOT = Path(keeper.__file__).parents[2]
# Without site: the keeper needs nothing that is installed, and takes half the memory so.
_KEEPER = "import sys; sys.path.insert(0, sys.argv[1]); from edge_gateway.edged.keeper import main; main()"


class KeeperLink:
    """Of one gateway."""

    def __init__(self, folder: Path, exited: Callable[[dict[str, Any]], None], lost: Callable[[], None]) -> None:
        """`folder` is the keeper's; `exited` is told of runs as the keeper tells of them, `lost` when it is gone itself."""
        self._folder = folder
        self._exited, self._lost = exited, lost
        self._writer: asyncio.StreamWriter | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._connecting = asyncio.Lock()
        self.speaks = keeper.SPEAKS
        """Which requests the keeper understands (`keeper.SPEAKS`)."""

    async def connect(self, *, start: bool) -> bool:
        """Have a keeper, and start one if there is none and that is wanted. Raises RuntimeTrouble."""
        async with self._connecting:
            if self._writer is not None:
                return True
            path = str(self._folder / "socket")
            spawned = False
            deadline = asyncio.get_running_loop().time() + START_S
            while True:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(path, limit=keeper.REQUEST_LIMIT)
                    break
                except OSError as error:
                    if not start:
                        return False
                    if asyncio.get_running_loop().time() > deadline:
                        raise RuntimeTrouble(f"the keeper of processes does not come up: {error}") from error
                if not spawned:
                    spawned = True
                    await asyncio.to_thread(self._spawn)
                await asyncio.sleep(0.01)
            self._hearing = asyncio.create_task(self._hear(reader), name="edged-keeper")
            return True

    async def list(self) -> list[dict[str, Any]]:
        """Its runs. Raises RuntimeTrouble."""
        answer = await self.ask("list", {"do": "list"})
        self.speaks = answer.get("speaks", 1)
        runs: list[dict[str, Any]] = answer["runs"]
        return runs

    async def dismiss(self) -> None:
        """Be rid of a keeper that has nothing to keep: the next one understands more."""
        if self._writer is None or self._hearing is None:
            return
        peer = self._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, _, _ = _PEER.unpack(peer)
        (self._folder / "socket").unlink(missing_ok=True)  # who connects while it goes would be heard by nobody
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await asyncio.wait([self._hearing], timeout=START_S)

    def _spawn(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "keeper.log").open("ab") as words:
                subprocess.run(
                    [sys.executable, "-I", "-S", "-c", _KEEPER, str(_ROOT), str(self._folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    start_new_session=True,
                    cwd="/",
                    timeout=START_S,
                    check=True,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeTrouble(f"the keeper of processes cannot be started: {error}") from error

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                content = json.loads(line)
                if "exited" in content:
                    self._exited(content["exited"])
                else:
                    waiting = self._answers.pop(content.get("re", "list"), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(content)
        except (OSError, ValueError) as error:
            log.warning("= keeper does not make sense error=%s", error)
        self._gone()

    def _gone(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self.speaks = keeper.SPEAKS  # the next one's
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(RuntimeTrouble("the keeper of processes is gone"))
        self._answers.clear()
        self._lost()

    async def ask(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer to a request. Raises RuntimeTrouble."""
        assert self._writer is not None
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        try:
            async with asyncio.timeout(START_S):
                self._writer.write(json.dumps(request).encode() + b"\n")
                await self._writer.drain()
                return await answer
        except (OSError, TimeoutError) as error:
            raise RuntimeTrouble(f"the keeper of processes does not answer: {error}") from error
        finally:
            self._answers.pop(key, None)

    async def send(self, request: dict[str, Any]) -> None:
        """Tell it something that has no answer. Raises RuntimeTrouble."""
        if self._writer is not None:
            self._writer.write(json.dumps(request).encode() + b"\n")
            try:
                async with asyncio.timeout(START_S):
                    await self._writer.drain()
            except (OSError, TimeoutError) as error:
                raise RuntimeTrouble(f"the keeper of processes does not take orders: {error}") from error

    def notes(self) -> dict[RunId, dict[str, Any]]:
        """What it has noted of runs: all that there is when it has died."""
        found = {}
        for file in sorted((self._folder / "runs").glob("*.json")):
            try:
                run = json.loads(file.read_bytes())
                found[RunId.parse(run["id"])] = run
            except (OSError, ValueError, KeyError) as error:
                log.warning("= note of a run is unreadable and dropped file=%s error=%s", file.name, error)
                file.unlink(missing_ok=True)
        return found

    def forget_note(self, id: RunId) -> None:
        """A run is over, and that is known."""
        (self._folder / "runs" / f"{str(id).replace('/', '_')}.json").unlink(missing_ok=True)

    async def close(self) -> None:
        """Leave it running."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
