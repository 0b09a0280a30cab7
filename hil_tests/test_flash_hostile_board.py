"""A port with something hostile behind it: it is refused in words, in bounded time and memory, and nothing it says is obeyed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tools import flash_transport
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_errors import BoardLost, FlashError, NoAnswer
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

TRUE = "('linux', 'micropython', [1, 28, 0], 'MicroPython 1.28', '', '', 0, 'aa', True, 4096, 4096, [])"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board with an empty flash, on."""
    try:
        made = UnixBoard(tmp_path / "board", flash_bytes=1 << 18)
    except Unavailable as error:
        missing(str(error))
    with made:
        yield made


def answering(connection: BoardConnection, code: str) -> None:
    """From now on the board answers every `print` of ours by what `code` prints."""
    connection.run(f"import builtins\n_print = builtins.print\ndef _lie(*a, **k):\n {code}\nbuiltins.print = _lie")


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense",
        "(1, 2)",
        "[" * 5000,
        "(" + "9" * 5000 + ",)",
        TRUE.replace("4096, 4096", "4096, 0"),
        TRUE.replace("4096, 4096", "-1, 4096"),
        TRUE.replace("'aa'", "['aa']"),
        TRUE.replace("[1, 28, 0]", "1"),
        TRUE.replace("'aa'", "'" + "a" * 5000 + "'"),
    ],
)
def test_facts_that_make_no_sense_are_named(board: UnixBoard, answer: str) -> None:
    with BoardConnection(board.port) as connection:
        answering(connection, f"_print({answer!r})")
        with pytest.raises(BoardLost, match="makes no sense: run this again"):
            connection.facts()


def test_files_that_make_no_sense_are_named(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection:
        connection.run("def _walk(d):\n print(('main.py', -1, 'x'))")
        with pytest.raises(BoardLost, match="makes no sense"):
            connection.files()
        answering(connection, "_print('1 + 1')")
        with pytest.raises(BoardLost, match="makes no sense"):
            connection.read("config.json")
        answering(connection, "import sys\n sys.stdout.buffer.write(b'\\xff\\xfe')")
        with pytest.raises(BoardLost):
            connection.read("config.json")


def test_what_a_board_is_called_does_not_reach_the_terminal_as_it_is(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection:
        named = TRUE.replace("''", "'\\x1b[2JPico'", 1)
        answering(connection, f"_print({named!r})")
        assert connection.facts().machine == r"\x1b[2JPico"


def test_an_exception_of_a_board_does_not_reach_the_terminal_as_it_is(board: UnixBoard) -> None:
    with BoardConnection(board.port) as connection, pytest.raises(FlashError, match="says: ValueError") as raised:
        connection.run("raise ValueError('\\x1b[2J')")
    assert "\x1b" not in str(raised.value)


def test_a_board_that_never_stops_talking_is_given_up(board: UnixBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash_transport, "MOST", 20_000)
    with BoardConnection(board.port) as connection, pytest.raises(BoardLost, match="says more than 20000 bytes"):
        connection.run("while True:\n print('x' * 100)")


def test_a_board_that_talks_instead_of_answering_is_no_board(board: UnixBoard) -> None:
    board.power_off()
    board.push(
        {"main.py": b"import micropython\nmicropython.kbd_intr(-1)\nprint('on')\nwhile True:\n print('x' * 100)\n"}
    )
    board.power_on()
    board.expect("x{100}")
    with pytest.raises(NoAnswer, match="answers no raw REPL"):
        BoardConnection(board.port).open(1.0)
