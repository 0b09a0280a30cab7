"""A mapper that breaks is started anew, with waits that grow; its neighbour and the process go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgewire.service import Service, serve
from mappers.supervised import SupervisedMapper


class Part:
    """A service that works until it is told to break."""

    name = "part"

    def __init__(self) -> None:
        self.breaks = asyncio.Event()
        self.started = asyncio.Event()
        self.stopped = False

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        self.started.set()
        try:
            await self.breaks.wait()
            raise RuntimeError("a mistake")
        finally:
            self.stopped = True


class Made:
    """Makes mappers of two parts, and remembers them."""

    def __init__(self, fails: int = 0) -> None:
        self.made: list[tuple[Part, Part]] = []
        self._fails = fails

    def __call__(self) -> Any:
        if self._fails:
            self._fails -= 1
            raise OSError("cannot be made")
        self.made.append((Part(), Part()))
        return self

    @property
    def services(self) -> tuple[Service, ...]:
        return self.made[-1]


@contextlib.asynccontextmanager
async def serving(*mappers: SupervisedMapper) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(serve(*mappers))
    try:
        async with asyncio.timeout(10):
            yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_made(made: Made, count: int) -> None:
    while len(made.made) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_a_mapper_that_breaks_is_made_anew_and_its_neighbour_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    broken, well = Made(), Made()
    async with serving(SupervisedMapper("a", broken, 0.01), SupervisedMapper("b", well, 0.01)) as task:
        await until_made(well, 1)
        broken.made[0][0].breaks.set()
        await until_made(broken, 2)
        assert broken.made[0][1].stopped, "the part that did not break must end with the other"
        broken.made[1][1].breaks.set()
        await until_made(broken, 3)
        await broken.made[2][1].started.wait()
        assert len(well.made) == 1
        assert not task.done()
    assert all(part.stopped for part in (*broken.made[2], *well.made[0]))
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert [line.rpartition(" retry_s=")[0] for line in said] == [
        f"= mapper failed protocol=a attempt={n}" for n in (1, 2)
    ]


async def test_a_mapper_that_cannot_be_made_is_tried_again() -> None:
    made = Made(fails=3)
    async with serving(SupervisedMapper("a", made, 0.01)):
        await until_made(made, 1)
