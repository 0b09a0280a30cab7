"""Logs as they are asked for: whole, the end of them, since a time, followed over a rotation."""

import asyncio
from pathlib import Path

import pytest

from edge_gateway.edged import log_reader
from edge_gateway.edged.log_reader import read
from edge_gateway.stream_server import StreamError
from edgewire.streams import LogRequest

DEADLINE_S = 20.0


def asked(**more: object) -> LogRequest:
    return LogRequest("default", "web", "c", **more)  # type: ignore[arg-type]


def line(second: int, text: str, tag: str = "F") -> str:
    return f"2026-01-01T00:00:{second:02}.000000000Z stdout {tag} {text}\n"


async def text_of(file: Path, request: LogRequest) -> str:
    async with asyncio.timeout(DEADLINE_S):
        return b"".join([piece async for piece in read(file, request, lambda: False)]).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "0.log"
    (tmp_path / "0.log.1").write_text(line(1, "one") + line(2, "two"))
    file.write_text(line(3, "three") + line(4, "fo", "P") + line(4, "ur") + line(5, "five"))
    return file


async def test_a_log_is_what_was_said_in_order_over_both_files(file: Path) -> None:
    assert await text_of(file, asked()) == "one\ntwo\nthree\nfour\nfive\n"


async def test_times_stand_before_lines_and_not_within(file: Path) -> None:
    text = await text_of(file, asked(timestamps=True, tail_lines=2))
    assert text == "2026-01-01T00:00:04.000000000Z four\n2026-01-01T00:00:05.000000000Z five\n"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (0, ""),
        (1, "five\n"),
        (2, "four\nfive\n"),
        (3, "three\nfour\nfive\n"),
        (4, "two\nthree\nfour\nfive\n"),
        (99, "one\ntwo\nthree\nfour\nfive\n"),
    ],
)
@pytest.mark.parametrize("block", [7, 64, 65_536])
async def test_the_end_of_a_log_is_found_from_behind(
    file: Path, lines: int, text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "BLOCK", block)
    assert await text_of(file, asked(tail_lines=lines)) == text


async def test_what_was_said_before_a_time_is_left_out(file: Path) -> None:
    assert await text_of(file, asked(since_time="2026-01-01T00:00:04Z")) == "four\nfive\n"
    assert await text_of(file, asked(since_time="2026-01-01T01:00:05+01:00")) == "five\n"
    assert await text_of(file, asked(since_seconds=60)) == ""
    assert (await text_of(file, asked(since_seconds=10**12))).endswith("four\nfive\n")
    with pytest.raises(StreamError, match="sinceTime"):
        await text_of(file, asked(since_time="yesterday"))


async def test_a_limit_of_bytes_cuts(file: Path) -> None:
    assert await text_of(file, asked(limit_bytes=5)) == "one\nt"


async def test_a_container_that_said_nothing_has_an_empty_log(tmp_path: Path) -> None:
    assert await text_of(tmp_path / "0.log", asked()) == ""
    (tmp_path / "1.log").touch()
    assert await text_of(tmp_path / "1.log", asked(tail_lines=5)) == ""


def rotate(file: Path, content: str) -> None:
    file.rename(file.with_name("0.log.1"))
    file.write_text(content)


async def test_a_log_is_followed_over_a_rotation_to_the_end_of_its_container(file: Path) -> None:
    alive = True
    got: list[bytes] = []
    caught_up = asyncio.Event()

    async def follow() -> None:
        async for piece in read(file, asked(follow=True, tail_lines=1), lambda: alive):
            got.append(piece)
            caught_up.set()

    async def until(text: str) -> None:
        while not b"".join(got).decode().endswith(text):
            caught_up.clear()
            await caught_up.wait()

    task = asyncio.create_task(follow())
    async with asyncio.timeout(DEADLINE_S):
        await until("five\n")
        with file.open("a") as more:
            more.write(line(6, "six"))
        await until("six\n")
        with file.open("a") as more:
            more.write(line(7, "seven"))
        rotate(file, line(8, "eight"))
        await until("eight\n")
        with file.open("a") as more:
            more.write(line(9, "last"))
        alive = False
        await task
    assert b"".join(got) == b"five\nsix\nseven\neight\nlast\n"
