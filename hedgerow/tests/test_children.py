"""Child against real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hedgerow import children
from hedgerow.children import Child, ChildError
from hedgerow.stack import until
from hil_tests.conftest import missing

FOREVER = "import time; print('up', flush=True); time.sleep(600)"


def _child(folder: Path, program: str) -> Child:
    return Child("program", [sys.executable, "-c", program], folder / "logs" / "program.log")


def _said(child: Child, text: str, deadline_s: float = 10.0) -> "asyncio.Future[None]":
    return asyncio.ensure_future(until(lambda: text in child.last_words(), child.last_words, deadline_s))


def _delays(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    def fixed() -> Iterator[float]:
        return iter(seconds)

    monkeypatch.setattr("edgewire.backoff.delays", fixed)


async def test_a_process_runs_until_stop(tmp_path: Path) -> None:
    child = _child(tmp_path, FOREVER)
    await child.start()
    try:
        await _said(child, "up")
        assert child.pid is not None
        process = psutil.Process(child.pid)
    finally:
        await child.stop()
    assert not process.is_running()
    assert child.pid is None
    assert child.restarts == 0


async def test_a_log_that_has_grown_large_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LOG_CHECK_S", 0.02)
    monkeypatch.setattr(children, "LOG_BYTES", 1000)
    aside = tmp_path / "logs" / "program.log.1"
    emptied = "import os, time\nwhile os.fstat(1).st_size: time.sleep(0.01)\n"
    child = _child(tmp_path, "print('x' * 1100, flush=True)\n" + emptied + FOREVER)
    await child.start()
    try:
        await _said(child, "up")
        assert aside.read_text() == "x" * 1100 + "\n"
    finally:
        await child.stop()
    assert "x" not in child.last_words()


async def test_one_that_dies_is_started_again_after_ever_longer_delays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _delays(monkeypatch, 0.1, 0.4, 600)
    child = _child(tmp_path, "import time; print(time.monotonic(), flush=True); raise SystemExit(3)")
    await child.start()
    try:
        await until(lambda: len(child.last_words().split()) == 3, child.last_words)
        assert child.restarts == 2
    finally:
        await asyncio.wait_for(child.stop(), 5)  # though it waits for 600 s just now
    first, second, third = map(float, child.last_words().split())
    assert second - first >= 0.1
    assert third - second >= 0.4


async def test_after_a_long_life_the_delays_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _delays(monkeypatch, 0.01, 600)
    monkeypatch.setattr(children, "SETTLED_S", 0.0)
    child = _child(tmp_path, "print('lived')")
    await child.start()
    try:
        await until(lambda: child.restarts >= 3, child.last_words)
    finally:
        await child.stop()


async def test_kill_9_from_outside_brings_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _delays(monkeypatch, 0.01, 600)
    child = _child(tmp_path, "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)")
    await child.start()
    try:
        before = child.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await until(lambda: child.pid not in (before, None), child.last_words)
    finally:
        await child.stop()


async def test_one_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "STOP_DEADLINE_S", 0.3)
    child = _child(tmp_path, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}")
    await child.start()
    try:
        await _said(child, "up")
        assert child.pid is not None
        process = psutil.Process(child.pid)
    finally:
        await child.stop()
    assert not process.is_running()
    assert "killed, it did not stop name=program" in caplog.text


async def test_a_stop_that_is_cancelled_kills(tmp_path: Path) -> None:
    child = _child(
        tmp_path, f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); {FOREVER}"
    )
    await child.start()
    try:
        await _said(child, "up")
        assert child.pid is not None
        process = psutil.Process(child.pid)
        began = time.monotonic()
        stopping = asyncio.create_task(child.stop())
        await _said(child, "asked")
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
    finally:
        await child.kill()
    assert not process.is_running()
    assert time.monotonic() - began < children.STOP_DEADLINE_S


async def test_last_words_are_the_end_of_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, f"print(*range(20), sep='\\n'); {FOREVER}")
    assert child.last_words() == ""
    await child.start()
    try:
        await _said(child, "up")
    finally:
        await child.stop()
    assert child.last_words(3) == "18\n19\nup"


async def test_a_command_that_does_not_exist_is_an_error_that_says_so(tmp_path: Path) -> None:
    child = Child("program", [str(tmp_path / "no-such-command")], tmp_path / "program.log")
    with pytest.raises(ChildError, match=r"program cannot be started: .*No such file or directory.*no-such-command"):
        await child.start()
    await child.stop()


async def test_a_command_that_vanishes_is_tried_again_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _delays(monkeypatch, *[0.02] * 200, 600)
    command = tmp_path / "command"
    command.symlink_to("/bin/true")
    child = Child("program", [str(command)], tmp_path / "program.log")
    await child.start()
    try:
        command.unlink()
        await until(lambda: "process not started name=program" in caplog.text, lambda: caplog.text)
        before = child.restarts
        command.symlink_to("/bin/true")
        await until(lambda: child.restarts > before, lambda: caplog.text)
    finally:
        await child.stop()


_PARENT = """
import asyncio, sys
from pathlib import Path
from hedgerow.children import Child

async def main():
    child = Child("program", [sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]) / "program.log")
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_when_the_parent_is_killed_the_process_goes_with_it(tmp_path: Path) -> None:
    if sys.platform != "linux":
        missing("the kernel's death signal, which Linux has")
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PARENT, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        process = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), 10)))
    finally:
        parent.kill()
        await parent.wait()
    assert not psutil.wait_procs([process], 5)[1]
