"""The file that describes a bench: a mistake is an error with its line and its key."""

from pathlib import Path

import pytest

from hil_tests.bench import desk
from hil_tests.bench.bench_file import BOARD_KINDS, INSTRUMENT_KINDS, BenchError, MicropythonSerial, load
from hil_tests.bench.boards import CAPABILITIES
from hil_tests.bench.kinds import KINDS

GOOD = """
host: 192.168.1.5
boards:
  pico:
    kind: micropython-serial
    port: /dev/ttyACM0
    power:
      uhubctl: {hub: 1-1, port: 2}
    lacks: [board.watchdog]
instruments:
  plc: {kind: modbus-tcp, address: "192.168.1.20:502"}
"""


def described(tmp_path: Path, text: str) -> str:
    """What is wrong with a file, without its folder."""
    file = tmp_path / "desk.yaml"
    file.write_text(text)
    with pytest.raises(BenchError) as caught:
        load(file)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_a_bench_is_read_with_its_parts_and_what_they_can_do(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text(GOOD)
    bench = load(file)
    assert bench.host == "192.168.1.5"
    pico = bench.boards["pico"]
    assert isinstance(pico, MicropythonSerial)
    assert pico.power is not None
    assert pico.power.uhubctl is not None
    assert (pico.power.uhubctl.hub, pico.power.uhubctl.port) == ("1-1", 2)
    can = desk.offered(bench)
    assert "board.power" in can["pico"]
    assert "board.watchdog" not in can["pico"]
    assert can["plc"] == {"modbus-tcp"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("boards:\n  a: {kind: micropython-seral}", "desk.yaml:2: boards.a.kind: no kind 'micropython-seral'"),
        ("boards:\n  a: {kind: micropython-seral}", "did you mean 'micropython-serial'?"),
        ("boards:\n\n  a:\n    port: x", "desk.yaml:3: boards.a: needs a kind: "),
        ("boards:\n  a:\n    kind: micropython-serial", "desk.yaml:2: boards.a: "),
        ("boards:\n  a:\n    kind: micropython-serial", "missing required field `port`"),
        ("boards:\n  a:\n    kind: micropython-serial\n    port: x\n    baud: fast", "desk.yaml:5: boards.a.baud: "),
        ("boards:\n  a:\n    kind: micropython-serial\n    prt: x", "desk.yaml:4: boards.a.prt: unknown key"),
        ("boards:\n  a: {kind: modbus-tcp}", "desk.yaml:2: boards.a.kind: no kind 'modbus-tcp'"),
        ("bords: {}", "desk.yaml:1: bords: unknown key: did you mean 'boards'?"),
        ("host: 5", "desk.yaml:1: host: expected a name"),
        ("boards: {a: {kind: esp-rom},\n  a: {kind: esp-rom}}", "desk.yaml:2: boards.a: stands there twice"),
        ("boards:\n  a:\n    kind: micropython-unix\n    has: [board.rset]", "did you mean 'board.reset'?"),
        (
            "boards:\n  a:\n    kind: micropython-serial\n    port: x\n    reset: dtr",
            "`reset` is repl or rts, not 'dtr'",
        ),
        (
            "boards:\n  a:\n    kind: micropython-serial\n    port: x\n    power:\n      uhubctl: {hub: 1-1, prt: 2}",
            "desk.yaml:6: boards.a.power.uhubctl.prt: ",
        ),
        (
            "instruments:\n  a:\n    kind: modbus-tcp\n    power:\n      on_command: x",
            "it is `on_command` and `off_command`, or `uhubctl`",
        ),
        ("instruments: [a]", "desk.yaml:1: instruments: expected a name and a kind for each"),
        ("a: [", "not YAML: while parsing a flow node"),
        ("", "desk.yaml:1: expected boards and instruments"),
    ],
)
def test_a_mistake_is_an_error_at_its_line(tmp_path: Path, text: str, error: str) -> None:
    assert error in described(tmp_path, text)


def test_a_bench_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_every_kind_of_the_file_is_known_to_the_bench() -> None:
    assert {*BOARD_KINDS, *INSTRUMENT_KINDS} == set(KINDS)
    for kind in KINDS.values():
        assert set(kind.capabilities) <= set(CAPABILITIES)


def test_the_default_bench_has_every_emulated_kind() -> None:
    bench = load(desk.DEFAULT)
    used = {entry.kind for entry in (*bench.boards.values(), *bench.instruments.values())}
    assert used == {kind.name for kind in KINDS.values() if kind.emulated}
