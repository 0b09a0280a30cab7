"""`kubectl port-forward` for tests, while it runs."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

START_S, ANSWER_S = 40.0, 90.0


class Forwarding:
    """One run of it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        """Where it listens on 127.0.0.1."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection through it."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def complains(self, words: str) -> None:
        """Wait until it says this."""
        assert self.process.stderr is not None
        said = ""
        async with asyncio.timeout(START_S):
            while words not in said:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it said no {words!r}, but {said!r}"
                said += line.replace("\\", "")  # its log has what it quotes quoted

    async def ask(self, content: bytes) -> bytes:
        """What is answered to this on a connection of its own, until that is over."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(ANSWER_S):
                answering = asyncio.create_task(reader.read())
                writer.write(content)
                await writer.drain()
                writer.write_eof()
                return await answering
        finally:
            writer.close()


@asynccontextmanager
async def forwarding(kubeconfig: Path, pod: str, port: int, *more: str) -> AsyncIterator[Forwarding]:
    """Forward a free port of 127.0.0.1 to a port of a pod."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--kubeconfig", str(kubeconfig), "port-forward", *more, f"pod/{pod}", f":{port}"),
        *("--address", "127.0.0.1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
            assert found, line or (await process.stderr.read()).decode()
        yield Forwarding(process, int(found[1]))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
