"""Processes that somebody talks to, really started: input and output, terminals, and that nothing of them stays."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from edge_gateway.edged.process_session import ProcessSession
from edge_gateway.edged.runtime import CannotStart

DEADLINE_S = 30.0
ENV = {"PATH": os.environ["PATH"]}


async def start(script: str, *, stdin: bool = False, tty: bool = False) -> ProcessSession:
    return await ProcessSession.start(["sh", "-c", script], ENV, "/", stdin=stdin, tty=tty)


async def rest(session: ProcessSession) -> tuple[bytes, bytes]:
    """All that it still says: output, errors."""
    said = {False: b"", True: b""}
    async with asyncio.timeout(DEADLINE_S):
        while (piece := await session.read(1000)) is not None:
            said[piece[0]] += piece[1]
    return said[False], said[True]


async def until_said(session: ProcessSession, word: bytes) -> bytes:
    said = b""
    async with asyncio.timeout(DEADLINE_S):
        while word not in said:
            piece = await session.read(1000)
            assert piece is not None, said
            said += piece[1]
    return said


async def test_output_errors_and_exit_code_come_apart() -> None:
    session = await start("echo out; echo err >&2; exit 3")
    assert await rest(session) == (b"out\n", b"err\n")
    assert await session.close() == 3


async def test_input_is_given_whole_and_ends() -> None:
    session = await start("cat", stdin=True)
    content = os.urandom(300_000)
    giving = asyncio.create_task(session.write(content))
    giving.add_done_callback(lambda task: session.end_input())
    assert await rest(session) == (content, b"")
    assert await session.close() == 0
    await giving


async def test_without_input_there_is_none_to_wait_for() -> None:
    session = await start("cat; echo over")
    assert await rest(session) == (b"over\n", b"")
    assert await session.close() == 0


async def test_input_that_nobody_reads_is_dropped_when_the_process_ends() -> None:
    session = await start("exit 0", stdin=True)
    async with asyncio.timeout(DEADLINE_S):
        await session.write(bytes(1_000_000))
    assert await session.close() == 0


async def test_a_terminal_is_one_and_has_its_size() -> None:
    session = await start("stty -echo; echo ready; read word; test -t 0 && stty size && echo $word >/dev/tty", tty=True)
    await until_said(session, b"ready")
    session.resize(132, 43)
    await session.write(b"hello\n")
    said, _ = await rest(session)
    assert said.split() == [b"43", b"132", b"hello"]
    assert await session.close() == 0


async def test_control_c_on_a_terminal_interrupts() -> None:
    session = await start("echo ready; exec sleep 1000", tty=True)
    await until_said(session, b"ready")
    await session.write(b"\x03")
    await rest(session)
    assert await session.close() == 130


@pytest.mark.parametrize("tty", [False, True])
async def test_closing_ends_it_with_all_that_it_started_and_leaves_no_descriptor(tty: bool) -> None:
    before = psutil.Process().num_fds()
    session = await start("trap '' HUP; sleep 1000 & echo $!; sleep 1000", tty=tty)
    child = int((await until_said(session, b"\n")).split()[0])
    async with asyncio.timeout(DEADLINE_S):
        assert await session.close() in (137, 129)
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 (processes tell nobody)
            await asyncio.sleep(0.01)
    assert psutil.Process().num_fds() <= before + 1  # asyncio may have begun to watch children


async def test_what_it_leaves_running_does_not_keep_it_open() -> None:
    session = await start("sleep 1000 & echo said")
    assert await rest(session) == (b"said\n", b"")
    assert await session.close() == 0


async def test_a_command_that_is_not_there_cannot_be_started(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(CannotStart) as caught:
        await ProcessSession.start([str(tmp_path / "none")], ENV, "/", stdin=True, tty=False)
    assert caught.value.code == 127
    assert psutil.Process().num_fds() <= before
