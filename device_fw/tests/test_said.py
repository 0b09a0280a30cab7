"""What a board or a file says is shown, never obeyed."""

from device_fw.tools import said


def test_what_can_be_printed_stays_as_it_is() -> None:
    assert said.plain("Raspberry Pi Pico, 21.5 °C") == "Raspberry Pi Pico, 21.5 °C"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert said.plain("a\x1b[2J\x07\r\nb\u202ec\x9b") == r"a\x1b[2J\x07\r\nb\u202ec\x9b"


def test_a_text_has_an_end() -> None:
    assert said.plain("x" * 500, 10) == "x" * 9 + "…"
    assert len(said.plain("\x1b" * 500, 10)) == 10
