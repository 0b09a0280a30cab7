"""A board flashed from beginning to end: runtime, firmware, credentials, first report; and every error with what to do."""

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_fw.tools.flash import flash
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_errors import (
    BoardLost,
    FlashError,
    NoAnswer,
    NoSpace,
    RuntimeTooOld,
    VerifyFailed,
    WrongBoard,
)
from device_fw.tools.flash_order import Layout, Order
from device_fw.tools.flash_plan import Write
from device_fw.tools.flash_session import Session, check, check_network
from hil_tests.bench.small_firmware import Silent, SmallFirmware
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

ROOT = Path(__file__).resolve().parents[1]
KILL_S = 30.0


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board with an empty flash, on."""
    try:
        made = UnixBoard(tmp_path / "board", flash_bytes=1 << 18)
    except Unavailable as error:
        missing(str(error))
    with made:
        yield made


class Broker:
    """Users in memory, as a broker would have them."""

    def __init__(self) -> None:
        self.users: dict[str, tuple[str, str]] = {}

    def accepts(self, user: str, password: str) -> bool:
        return self.users.get(user, ("", ""))[0] == password

    def store(self, user: str, password: str, device: str) -> None:
        self.users[user] = password, device


def config(board: UnixBoard) -> dict[str, Any]:
    """The board's config.json; ends with the board off."""
    board.power_off()
    return dict(json.loads(board.files()["config.json"]))


def test_an_empty_board_gets_everything_and_runs(board: UnixBoard) -> None:
    show = Silent()
    outcome = flash(Order(SmallFirmware(), port=board.port), show)
    board.expect(SmallFirmware().line())
    assert outcome.device == "default/small"
    assert len(outcome.written) == 6
    assert outcome.facts is not None
    assert outcome.facts.unique_id == board.unique_id.hex()
    assert show.steps[-1] == "Reset"
    assert show.parts == sorted(show.parts)
    assert show.parts[-1] == 1.0


def test_credentials_are_made_once_and_known_to_the_broker(board: UnixBoard) -> None:
    broker = Broker()
    order = Order(SmallFirmware(), {"host": "gateway", "port": 1884}, port=board.port, users=broker)
    first = flash(order, Silent())
    again = flash(order, Silent())
    assert first.password
    assert again.password == ""
    assert again.written == ()
    assert broker.users == {"default/small": (first.password, "default/small")}
    assert config(board) == {
        "name": "default/small",
        "host": "gateway",
        "port": 1884,
        "user": "default/small",
        "password": first.password,
    }


def test_what_is_provisioned_stays_without_being_given_again(board: UnixBoard) -> None:
    broker = Broker()
    flash(Order(SmallFirmware(), {"host": "gateway", "port": 1884}, port=board.port, users=broker), Silent())

    class Elsewhere(SmallFirmware):
        configuration = {"name": "default/small"}

    outcome = flash(Order(Elsewhere(2), port=board.port, users=broker), Silent())
    assert outcome.password == ""
    found = config(board)
    assert (found["host"], found["port"], found["password"]) == ("gateway", 1884, broker.users["default/small"][0])


def test_a_password_that_the_broker_does_not_know_is_made_anew(board: UnixBoard) -> None:
    first = flash(Order(SmallFirmware(), port=board.port), Silent())
    broker = Broker()
    outcome = flash(Order(SmallFirmware(), port=board.port, users=broker), Silent())
    assert outcome.password not in ("", first.password)
    assert outcome.written == ("config.json",)
    assert config(board)["password"] == broker.users["default/small"][0] == outcome.password


def test_a_board_cannot_name_whose_password_is_changed(board: UnixBoard) -> None:
    broker = Broker()
    broker.store("admin", "secret", "")
    board.power_off()
    claims = {"name": "default/small", "user": "admin", "password": "guessed"}
    board.push({"config.json": json.dumps(claims).encode()})
    board.power_on()
    flash(Order(SmallFirmware(), port=board.port, users=broker), Silent())
    assert broker.users["admin"] == ("secret", "")
    found = config(board)
    assert (found["user"], found["password"]) == ("default/small", broker.users["default/small"][0])


def test_a_board_that_was_another_device_gets_a_user_of_its_own(board: UnixBoard) -> None:
    class Other(SmallFirmware):
        configuration = {"name": "default/other", "host": "gateway"}

    broker = Broker()
    before = flash(Order(Other(), port=board.port, users=broker), Silent())
    flash(Order(SmallFirmware(), port=board.port, users=broker), Silent())
    assert broker.users["default/other"] == (before.password, "default/other")
    found = config(board)
    assert (found["user"], found["password"]) == ("default/small", broker.users["default/small"][0])
    assert found["password"] != before.password


def test_a_board_whose_gateway_nobody_knows_is_asked_for_it(board: UnixBoard) -> None:
    class Nowhere(SmallFirmware):
        configuration = {"name": "default/small"}

    with pytest.raises(FlashError, match="give --gateway HOST"):
        flash(Order(Nowhere(), port=board.port), Silent())


def test_a_dry_run_shows_every_step_writes_nothing_and_lets_the_firmware_go_on(board: UnixBoard) -> None:
    flash(Order(SmallFirmware(1), port=board.port), Silent())
    board.expect(SmallFirmware(1).line())
    show = Silent()
    broker = Broker()
    flash(Order(SmallFirmware(2), port=board.port, users=broker, dry_run=True), show)
    assert "Would write config.py, 11 bytes" in show.steps
    assert "Would write lib/two.py, 1509 bytes" in show.steps
    assert not any("lib/one.py" in step for step in show.steps)
    assert broker.users == {}
    board.expect(SmallFirmware(1).line())


def test_a_firmware_for_another_board_is_refused_before_anything_is_written(board: UnixBoard) -> None:
    firmware = SmallFirmware()
    firmware.platform, firmware.board = "rp2", "pico_w"
    with pytest.raises(WrongBoard, match=r"firmware is for pico_w \(rp2\), and the board is .*linux.*`board:`"):
        flash(Order(firmware, port=board.port), Silent())
    board.power_off()
    assert board.files() == {}


def test_a_board_that_was_refused_goes_on_with_what_it_runs(board: UnixBoard) -> None:
    flash(Order(SmallFirmware(1), port=board.port), Silent())
    board.expect(SmallFirmware(1).line())
    firmware = SmallFirmware(2)
    firmware.platform, firmware.board = "rp2", "pico_w"
    with pytest.raises(WrongBoard):
        flash(Order(firmware, port=board.port), Silent())
    board.expect(SmallFirmware(1).line())


def test_an_old_runtime_is_named_with_where_to_get_a_new_one(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection:
        facts = connection.facts()
    with pytest.raises(
        RuntimeTooOld, match=r"runs MicroPython 1\.19\.1; the firmware needs 1\.20\.0 or newer.*--runtime"
    ):
        check(Order(SmallFirmware()), replace(facts, version=(1, 19, 1)))


def test_wi_fi_on_a_board_without_it_is_refused(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection:
        facts = replace(connection.facts(), platform="rp2", machine="Raspberry Pi Pico with RP2040")
    order = Order(SmallFirmware())
    check_network(order, facts, {"name": "default/small"})
    check_network(order, replace(facts, network=True), {"wifi_ssid": "hall"})
    with pytest.raises(
        WrongBoard, match=r"this Raspberry Pi Pico with RP2040 has no network, and 'hall' is to be joined.*--runtime"
    ):
        check_network(order, facts, {"wifi_ssid": "hall"})


def test_a_board_without_room_is_named_before_anything_is_written(board: UnixBoard) -> None:
    with pytest.raises(NoSpace, match=r"bytes free, \d+ too few"):
        flash(Order(SmallFirmware(size=150_000), port=board.port), Silent())
    board.power_off()
    assert board.files() == {}


def test_a_board_that_is_full_all_the_same_says_so(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection, pytest.raises(NoSpace, match="is full"):
        connection.write(Write("big", b"x" * 300_000))


def test_firmware_that_catches_ctrl_c_is_named(board: UnixBoard) -> None:
    board.power_off()
    deaf = "import time, micropython\nmicropython.kbd_intr(-1)\nprint('deaf')\nwhile True:\n time.sleep_ms(20)\n"
    board.push({"main.py": deaf.encode()})
    board.power_on()
    board.expect("deaf")
    with pytest.raises(NoAnswer, match=r"no raw REPL within 1 s: its firmware catches Ctrl-C.*reset button.*--runtime"):
        flash(Order(SmallFirmware(), port=board.port, patience_s=1.0), Silent())


def test_a_file_damaged_on_its_way_is_noticed_and_the_old_one_stays(board: UnixBoard) -> None:
    step = Write("lib/a.py", b"new" * 1000)
    with BoardConnection(board.port) as connection:
        connection.write(Write("lib/a.py", b"old"))
        connection.run("def _sum(p):\n return 'damaged'")
        with pytest.raises(VerifyFailed, match=r"came to the board damaged.*another cable"):
            connection.write(step)
    board.power_off()
    assert board.files() == {"lib/a.py": b"old"}


def test_a_flash_that_forgets_is_noticed_when_everything_is_read_back(board: UnixBoard) -> None:
    class Forgetful(SmallFirmware):
        def layout(self, *arguments: Any) -> Layout:
            connection.run(
                "_place_ = _place\ndef _place(a, b):\n _place_(a, b)\n if 'one' in b:\n  open(b, 'w').close()"
            )
            return super().layout(*arguments)

    connection: BoardConnection
    order = Order(Forgetful(), port=board.port)
    session = Session(order, Silent(), board.port)
    connection = session._board
    with pytest.raises(VerifyFailed, match=r"not what was written: lib/one\.py\. Run this again"):
        session.complete()


def test_a_watchdog_that_the_firmware_left_armed_only_delays(board: UnixBoard) -> None:
    board.power_off()
    arm = "import machine, time\nwdt = machine.WDT(timeout=3000)\nprint('armed')\n"
    board.push({"main.py": (arm + "while True:\n wdt.feed()\n time.sleep_ms(20)\n").encode()})
    board.power_on()
    board.expect("armed")
    commands, before = 0, board.starts

    def on_command() -> None:
        nonlocal commands
        commands += 1
        if commands == 10:  # some files are there; on a busy machine it has bitten already
            board.until(lambda board: board.starts > before, "the watchdog bites", 30)

    show = Silent()
    outcome = flash(Order(SmallFirmware(), port=board.port, on_command=on_command, answer_s=3.0), show)
    assert any("went away, going on" in step for step in show.steps)
    assert set(outcome.written) >= {"main.py", "lib/one.py", "lib/two.py"}
    board.expect(SmallFirmware().line(), 20)


def test_a_board_unplugged_in_the_midst_is_named_and_a_second_run_completes(board: UnixBoard) -> None:
    count = 0

    def on_command() -> None:
        nonlocal count
        count += 1
        if count == 12:
            board.power_off()

    with pytest.raises((BoardLost, NoAnswer)):
        flash(Order(SmallFirmware(), port=board.port, on_command=on_command, answer_s=0.3, patience_s=0.5), Silent())
    board.power_on()
    flash(Order(SmallFirmware(), port=board.port), Silent())
    board.expect(SmallFirmware().line())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("lines", [2, 6, 9])
def test_the_tool_killed_in_the_midst_leaves_nothing_that_a_second_run_does_not_complete(
    board: UnixBoard, lines: int
) -> None:
    code = textwrap.dedent(f"""
        from device_fw.tools.flash import flash
        from device_fw.tools.flash_order import Layout, Order
        from hil_tests.bench.small_firmware import Silent, SmallFirmware
        flash(Order(SmallFirmware(size=20000), port={board.port!r}, on_command=lambda: print("command", flush=True)), Silent())
    """)
    tool = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    with tool:
        assert tool.stdout is not None
        for _ in range(lines):
            assert tool.stdout.readline()
        tool.send_signal(signal.SIGKILL)
    assert tool.returncode == -signal.SIGKILL
    flash(Order(SmallFirmware(size=20000), port=board.port), Silent())
    board.expect(SmallFirmware().line())
