"""Starting in order, stopping in reverse, failing as a whole."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from edgewire.service import Service, serve, serve_until_signalled


class Part:
    """A service that notes what happens to it."""

    def __init__(self, name: str, diary: list[str], on_start: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.diary = diary
        self.on_start = on_start
        self.end = asyncio.Event()

    async def run(self, ready: asyncio.Event) -> None:
        self.diary.append(f"{self.name} starts")
        self.on_start()
        try:
            await asyncio.sleep(0)
            self.diary.append(f"{self.name} ready")
            ready.set()
            await self.end.wait()
        finally:
            await asyncio.sleep(0)
            self.diary.append(f"{self.name} stopped")


class Stubborn(Part):
    """Cleans up for ever."""

    async def run(self, ready: asyncio.Event) -> None:
        try:
            await super().run(ready)
        finally:
            await asyncio.Event().wait()


class Clumsy(Part):
    """Fails while it cleans up."""

    async def run(self, ready: asyncio.Event) -> None:
        try:
            await super().run(ready)
        finally:
            raise OSError("disk full")


def fail() -> None:
    raise LookupError("no such broker")


async def started(task: asyncio.Task[None], diary: list[str], line: str) -> None:
    async with asyncio.timeout(5):
        while line not in diary:
            assert not task.done(), task
            await asyncio.sleep(0)


async def test_services_start_in_order_each_when_the_one_before_is_ready_and_stop_in_reverse() -> None:
    diary: list[str] = []
    task = asyncio.create_task(serve(*(Part(name, diary) for name in "abc")))
    await started(task, diary, "c ready")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    starts = [f"{name} {what}" for name in "abc" for what in ("starts", "ready")]
    assert diary == [*starts, "c stopped", "b stopped", "a stopped"]


async def test_a_service_that_fails_to_start_stops_those_before_it_and_none_after_it_starts() -> None:
    diary: list[str] = []
    with pytest.raises(LookupError, match="no such broker"):
        await serve(Part("a", diary), Part("b", diary, fail), Part("c", diary))
    assert diary == ["a starts", "a ready", "b starts", "a stopped"]


async def test_a_service_that_fails_while_another_starts_stops_all() -> None:
    diary: list[str] = []
    first = Part("a", diary)

    class Never(Part):
        async def run(self, ready: asyncio.Event) -> None:
            first.end.set()
            await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="service a ended by itself"):
        await serve(first, Never("b", diary))


async def test_a_service_that_returns_by_itself_is_an_error() -> None:
    diary: list[str] = []
    parts = [Part("a", diary), Part("b", diary)]
    task = asyncio.create_task(serve(*parts))
    await started(task, diary, "b ready")
    parts[0].end.set()
    with pytest.raises(RuntimeError, match="service a ended by itself"):
        await task
    assert diary[-2:] == ["a stopped", "b stopped"]


async def test_a_service_that_cancels_itself_does_not_look_like_a_stop() -> None:
    class Cancelled(Part):
        async def run(self, ready: asyncio.Event) -> None:
            raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="service a ended by itself"):
        await serve(Cancelled("a", []))


async def test_a_failure_while_stopping_is_logged_and_hides_neither_the_cause_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary: list[str] = []
    with pytest.raises(LookupError, match="no such broker"):
        await serve(Part("a", diary), Clumsy("b", diary), Part("c", diary, fail))
    assert diary[-2:] == ["b stopped", "a stopped"]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "= service failed while stopping name=b"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


async def test_a_service_that_does_not_stop_is_left_behind_after_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    diary: list[str] = []
    with pytest.raises(LookupError):
        await serve(Part("a", diary), Stubborn("b", diary), Part("c", diary, fail), stop_deadline_s=0.01)
    assert diary[-1] == "a stopped"
    assert "= service does not stop name=b" in caplog.text
    left = [task for task in asyncio.all_tasks() if task.get_name() == "b"]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert left


async def test_an_error_is_raised_from_serve_until_signalled_and_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LookupError, match="no such broker"):
        await serve_until_signalled(Part("a", [], fail))
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_signal_stops_the_services_and_is_no_error() -> None:
    diary: list[str] = []
    task = asyncio.create_task(serve_until_signalled(Part("a", diary), Part("b", diary)))
    await started(task, diary, "b ready")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await task
    assert diary[-2:] == ["b stopped", "a stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_stops_cleanly_on_a_signal_however_often_it_comes(number: signal.Signals) -> None:
    program = textwrap.dedent("""
        import asyncio, os, signal
        from edgewire.service import serve_until_signalled

        class Part:
            name = "part"

            async def run(self, ready):
                ready.set()
                print("ready", flush=True)
                try:
                    await asyncio.Event().wait()
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)  # the parent's, after the terminal's
                    await asyncio.sleep(0.05)
                    print("cleaned up", flush=True)

        asyncio.run(serve_until_signalled(Part()))
        print("over", flush=True)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            rest, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (rest, process.returncode) == ("cleaned up\nover\n", 0)


def test_a_plain_class_is_a_service() -> None:
    part: Service = Part("a", [])
    assert part.name == "a"
