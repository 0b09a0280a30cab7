"""The emulated board is hardware to whoever is outside: mpremote, power, resets, watchdog, flash."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil_tests.bench import board_rom, micropython_board
from hil_tests.bench.unix_board import BoardError, Unavailable, UnixBoard, UsbIdentity, listed
from hil_tests.conftest import missing

MPREMOTE = [sys.executable, "-m", "mpremote"]
ROOT = Path(__file__).resolve().parents[1]
_HEAP_IN_USE = "import gc; gc.collect(); print('used', gc.mem_alloc())"
_FILE_SYSTEM = 1024  # what LittleFS takes of the heap, on a real board too


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., UnixBoard]]:
    """Makes boards; they are taken away in the end."""
    boards: list[UnixBoard] = []

    def board(*, main: str = "", **options: object) -> UnixBoard:
        try:
            made = UnixBoard(tmp_path / f"board-{len(boards)}", **options)  # type: ignore[arg-type]
        except Unavailable as error:
            missing(str(error))
            raise
        boards.append(made)
        if main:
            made.push({"main.py": main.encode()})
        return made

    yield board
    for one in boards:
        one.close()


def mpremote(board: UnixBoard, *arguments: str) -> str:
    done = subprocess.run(
        [*MPREMOTE, "connect", board.port, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_mpremote_copies_runs_and_mounts_as_on_a_board(make: Callable[..., UnixBoard], tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    data = bytes(range(256)) * 8
    (local / "data.bin").write_bytes(data)
    (local / "answer.py").write_text("print('answer', 6 * 7)\n")
    board = make(main="print('main runs')")
    board.power_on()
    board.expect("main runs")
    assert mpremote(board, "exec", "print(1 + 1)").strip() == "2"
    mpremote(board, "fs", "cp", str(local / "data.bin"), ":data.bin", "+", "fs", "cp", ":data.bin", str(local / "back"))
    assert (local / "back").read_bytes() == data
    assert "data.bin" in mpremote(board, "fs", "ls")
    assert mpremote(board, "run", str(local / "answer.py")).strip() == "answer 42"
    mounted = "import answer, os; print(len(open('/remote/data.bin', 'rb').read()))"
    assert mpremote(board, "mount", str(local), "exec", mounted).split()[-3:] == ["answer", "42", "2048"]


def test_mpremote_resets_softly_without_main_and_hard_with_it(make: Callable[..., UnixBoard]) -> None:
    board = make(main="import machine; print('cause', machine.reset_cause())")
    board.push({"boot.py": b"print('boot')"})
    board.power_on()
    board.expect(r"boot\s+cause 1\s")
    mpremote(board, "soft-reset")
    assert not re.search("cause", board.expect(r"(?s)soft reboot.*?raw REPL").group())
    mpremote(board, "reset")
    board.expect(r"start \d+: hard ===\s+boot\s+cause 2\s")
    board.expect(">>> ")
    board.write(b"\x04")
    board.expect(r"MPY: soft reboot\s+=== start \d+: soft ===\s+boot\s+cause 5\s")


def test_ctrl_c_interrupts_a_program_and_leads_to_the_repl(make: Callable[..., UnixBoard]) -> None:
    board = make(main="value = 7\nprint('busy')\nwhile True:\n    pass\n")
    board.power_on()
    board.expect("busy")
    board.write(b"\x03")
    board.expect("KeyboardInterrupt")
    board.write(b"print(value * 6)\r")
    board.expect("42")
    assert mpremote(board, "exec", "print('still there')").strip() == "still there"


def test_a_program_may_take_ctrl_c_as_a_byte(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="import micropython, sys\nmicropython.kbd_intr(-1)\nprint('binary')\nprint(sys.stdin.buffer.read(3))\n"
    )
    board.power_on()
    board.expect("binary")
    board.write(b"\x01\x03\x04")
    board.expect(re.escape(r"b'\x01\x03\x04'"))


def test_mpremote_gets_in_while_main_runs_for_ever(make: Callable[..., UnixBoard]) -> None:
    board = make(main="import time\nprint('busy')\nwhile True:\n    time.sleep_ms(10)\n")
    board.power_on()
    assert mpremote(board, "exec", "print('in')").strip() == "in"


def test_a_failing_main_shows_its_traceback_and_the_repl(make: Callable[..., UnixBoard]) -> None:
    board = make(main="1 / 0")
    board.power_on()
    board.expect(r"ZeroDivisionError.*\s+MicroPython .*\s+.*\s+>>> ")
    assert board.starts == 1


def test_a_watchdog_that_is_not_fed_resets_the_board(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="""
import machine, time
if machine.reset_cause() == machine.WDT_RESET:
    print("bitten")
else:
    dog = machine.WDT(timeout=1000)
    for _ in range(10):
        time.sleep_ms(50)
        dog.feed()
    print("well fed")
    while True:
        pass
"""
    )
    board.power_on()
    board.expect("well fed")
    board.expect(r"start 2: watchdog ===\s+bitten")


def test_the_power_goes_at_once_and_the_port_stays(make: Callable[..., UnixBoard]) -> None:
    board = make(main="print('up')\nwhile True:\n    pass\n")
    assert not board.running
    port = os.path.realpath(board.port)
    board.power_on()
    board.expect("up")
    pid = board.pid
    assert pid is not None
    board.power_off()
    assert (board.running, board.off_because, os.path.realpath(board.port)) == (False, "off", port)
    assert gone(pid)
    board.cycle()
    board.expect("up")
    assert board.cause == "power-on"
    board.reset()
    board.expect("up")
    assert (board.cause, board.starts) == ("hard", 3)


def test_programs_have_the_heap_of_a_board(make: Callable[..., UnixBoard]) -> None:
    board = make(main="import gc, machine; gc.collect(); print('free', gc.mem_free())", heap_kb=96)
    board.power_on()
    free = int(board.expect(r"free (\d+)\s")[1])
    assert 94_000 < free < 98_304


def test_the_heap_for_what_a_real_board_has_in_its_rom_is_just_that(make: Callable[..., UnixBoard]) -> None:
    board = make(main=_HEAP_IN_USE)
    board.power_on()
    alone = subprocess.run(
        micropython_board.command("-c", _HEAP_IN_USE), capture_output=True, text=True, timeout=20, check=True
    )
    taken = int(board.expect(r"used (\d+)\s")[1]) - int(alone.stdout.split()[1]) - _FILE_SYSTEM
    assert abs(taken - board_rom.HEAP_KB * 1024) < 1024


def test_a_board_knows_its_id_and_a_port_finder_its_usb_identity(
    make: Callable[..., UnixBoard], tmp_path: Path
) -> None:
    identity = UsbIdentity(vid=0x303A, pid=0x4001, serial_number="E6614103", product="ESP32-S3")
    board = make(main="import machine; print(machine.unique_id().hex())", unique_id=b"\x01\xab\xff", usb=identity)
    board.power_on()
    board.expect("01abff")
    (found,) = listed(tmp_path)
    assert found["device"] == board.port
    assert (found["vid"], found["pid"], found["serial_number"]) == (0x303A, 0x4001, "E6614103")


def test_a_clock_that_was_set_runs_on_over_a_reset_but_not_without_power(make: Callable[..., UnixBoard]) -> None:
    year_2000 = 946_684_800 - int(time.time())
    board = make(main="import time; print('year', time.gmtime()[0])", clock_s=year_2000)
    board.power_on()
    board.expect(r"year 2000\s+Mic[^>]*>>> ")
    board.write(b"import machine; machine.RTC().datetime((2030, 5, 1, 0, 12, 0, 0, 0))\r")
    board.write(b"print(machine.RTC().datetime()[:5])\r")
    board.expect(re.escape("(2030, 5, 1, 2, 12)"))
    board.reset()
    board.expect(r"year 2030\s")
    board.cycle()
    board.expect(r"year 2000\s")


def test_deep_sleep_ends_by_itself_and_the_boot_loader_by_a_reset(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="import machine\nif machine.reset_cause() == 4: machine.bootloader()\n"
        "if machine.reset_cause() == 1: machine.deepsleep(100)\nprint('cause', machine.reset_cause())"
    )
    board.power_on()
    board.until(lambda board: board.off_because == "bootloader", "it is in its boot loader")
    assert board.starts == 2
    board.reset()
    board.expect(r"cause 2\s")


def test_a_board_that_resets_at_every_start_does_so_for_ever(make: Callable[..., UnixBoard]) -> None:
    board = make(main="import machine; machine.reset()")
    board.power_on()
    board.until(lambda board: board.starts >= 5, "it started five times")
    board.power_off()
    assert board.cause == "hard"


def test_a_file_renamed_into_place_is_whole_wherever_the_power_goes(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="""
import os
number = 0
try:
    with open("state") as file:
        text = file.read()
    number = int(text.split()[0])
    print("whole" if text == "%d " % number * 50 else "TORN", number)
except OSError:
    print("whole none")
while True:
    number += 1
    with open("state.new", "w") as file:
        file.write("%d " % number * 50)
    os.rename("state.new", "state")
"""
    )
    chance = random.Random(5)
    for _ in range(15):
        board.power_on()
        assert board.expect(r"(whole|TORN) (\w+)\s")[1] == "whole"
        deadline = time.monotonic() + chance.uniform(0.001, 0.03)
        while time.monotonic() < deadline:
            pass
        board.power_off()
    assert board.files()["state"]


def test_the_power_fails_within_any_step_of_the_flash_and_the_file_system_stays_whole(
    make: Callable[..., UnixBoard],
) -> None:
    board = make(
        main="""
import os
with open("state.new", "w") as file:
    file.write("new" * 300)
os.rename("state.new", "state")
print("done")
"""
    )
    board.push({"state": b"old" * 300})
    cuts = 0
    for step in range(1, 60):
        board.cut_power_after(step)
        board.power_on()
        board.until(lambda board: not board.running or "done" in board.printed(), "it is cut off, or done")
        if board.running:
            break
        assert board.off_because == "cut"
        assert board.files()["state"] in (b"old" * 300, b"new" * 300)
        board.push({"state": b"old" * 300})
        cuts += 1
    assert cuts >= 3
    board.power_off()
    assert board.files()["state"] == b"new" * 300


def test_a_full_flash_refuses_and_keeps_what_it_has(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="""
try:
    with open("big", "wb") as file:
        for _ in range(100):
            file.write(bytes(1024))
except OSError as error:
    print("errno", error.errno)
""",
        flash_bytes=64 << 10,
    )
    board.power_on()
    board.expect("errno 28")
    board.power_off()
    assert "main.py" in board.files()
    with pytest.raises(BoardError, match=r"28|ENOSPC"):
        board.push({"more": bytes(128 << 10)})


def test_an_erased_flash_is_formatted_at_the_next_start(make: Callable[..., UnixBoard]) -> None:
    board = make(main="print('main')")
    board.erase()
    board.power_on()
    board.expect(">>> ")
    board.power_off()
    assert board.files() == {}


def test_its_flash_is_not_to_be_read_while_it_is_on(make: Callable[..., UnixBoard]) -> None:
    board = make()
    board.power_on()
    with pytest.raises(BoardError, match="is on"):
        board.files()


def test_a_board_that_gets_other_files_starts_anew_with_them(make: Callable[..., UnixBoard]) -> None:
    board = make(main="print('one')")
    board.power_on()
    board.expect("one")
    many = {f"lib/deep/module_{number}.py": b"x = %d" % number for number in range(40)}
    board.push({"main.py": b"from deep.module_39 import x; print('two', x)", **many})
    board.expect("two 39")
    assert board.cause == "power-on"


def test_what_is_not_on_the_console_is_an_error_that_shows_it(make: Callable[..., UnixBoard]) -> None:
    board = make(main="print('something else')")
    board.power_on()
    board.expect("something")
    with pytest.raises(BoardError, match=r"(?s)'nothing' not within 0\.1 s.*something else"):
        board.expect("nothing", timeout_s=0.1)


def test_a_board_goes_with_the_process_that_made_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hil_tests.bench.unix_board import UnixBoard\n"
        "board = UnixBoard(Path(sys.argv[1])); board.power_on(); print(board.pid, flush=True); time.sleep(60)"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "board")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with maker:
        assert maker.stdout is not None
        line = maker.stdout.readline()
        maker.send_signal(signal.SIGKILL)
    if not line:
        missing("no MicroPython for this machine")
    deadline = time.monotonic() + 10
    while not gone(int(line)):
        assert time.monotonic() < deadline, "the board outlived it"
        time.sleep(0.01)


def test_a_program_finds_pins_and_what_surrounds_them(make: Callable[..., UnixBoard]) -> None:
    board = make(
        main="""
from machine import Pin
Pin(3, Pin.OUT).value(1)
print("level", Pin(4, Pin.IN).value())
"""
    )
    (board.folder / "hardware.json").write_text(json.dumps({"pins": {"4": 1}}))
    board.power_on()
    board.expect(r"level 1\s")
    assert json.loads((board.folder / "pins.json").read_text()) == {"3": 1}


def test_a_board_in_a_folder_of_before_has_its_flash_and_expects_what_is_new(make: Callable[..., UnixBoard]) -> None:
    first = make(main="import machine; print('cause', machine.reset_cause())")
    first.power_on()
    first.expect("cause 1")
    first.write(b"import machine; machine.reset()\r")
    first.expect("cause 2")
    first.close()
    with UnixBoard(first.folder) as again:
        again.expect(r"cause 1\s")
