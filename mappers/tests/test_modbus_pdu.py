"""Requests as the specification's examples print them, and what is no right answer."""

import pytest

from mappers import modbus_pdu as pdu
from mappers.driver import BadAnswer, NoAnswer


@pytest.mark.parametrize(
    ("request_", "sent", "answered"),
    [
        (pdu.read(1, 0x13, 19), "0100130013", "0103cd6b05"),
        (pdu.read(2, 0xC4, 22), "0200c40016", "0203acdb35"),
        (pdu.read(3, 0x6B, 3), "03006b0003", "0306022b00000064"),
        (pdu.read(4, 8, 1), "0400080001", "0402000a"),
        (pdu.write_coil(0xAC, True), "0500acff00", "0500acff00"),
        (pdu.write_register(1, b"\0\3"), "0600010003", "0600010003"),
        (
            pdu.write_coils(0x13, [bool(0x01CD >> n & 1) for n in range(10)]),
            "0f0013000a02cd01",
            "0f0013000a",
        ),
        (pdu.write_registers(1, bytes.fromhex("000a0102")), "100001000204000a0102", "1000010002"),
        (pdu.mask_write(4, 0x000D, 0x0005), "160004fff20005", "160004fff20005"),
    ],
)
def test_requests_and_answers_are_those_of_the_specification(request_: pdu.Request, sent: str, answered: str) -> None:
    """Modbus Application Protocol V1.1b3, the examples of sections 6.1 to 6.16 (mask write: with this module's masks)."""
    assert request_.pdu.hex() == sent
    answer = bytes.fromhex(answered)
    assert answer.startswith(request_.head)
    assert len(answer) == request_.length
    assert pdu.answer_size(request_, answer[:3]) == len(answer)
    assert pdu.answer_size(request_, bytes((sent_function(sent) | 0x80, 2))) == 2
    assert pdu.answer_size(request_, b"\x2b\0\0") == 0


def sent_function(sent: str) -> int:
    return int(sent[:2], 16)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "empty"),
        ("0402000a", "function 4 instead of 3"),
        ("83", "exception of wrong length"),
        ("03020007ff", "wrong byte count"),
        ("0304000700", "wrong byte count"),
        ("030400070007", "4 bytes of values instead of 2"),
    ],
)
def test_an_answer_that_is_none_says_why(answer: str, words: str) -> None:
    error = pdu.failure(pdu.read(3, 0, 1), bytes.fromhex(answer), "plc unit 1", "reading HoldingRegister 0")
    assert type(error) is BadAnswer
    assert str(error) == f"plc unit 1 gave no valid answer ({words}), reading HoldingRegister 0"


def test_a_confirmation_of_another_write_is_no_right_answer() -> None:
    error = pdu.failure(pdu.write_register(0, b"\0\5"), bytes.fromhex("0600010005"), "plc unit 1", "writing")
    assert "confirmed another write" in str(error)


@pytest.mark.parametrize(("code", "name"), pdu.EXCEPTIONS.items())
def test_exceptions_are_named(code: int, name: str) -> None:
    error = pdu.failure(pdu.read(3, 0, 1), bytes((0x83, code)), "plc unit 1", "reading HoldingRegister 0")
    assert str(error) == f"plc unit 1 answered exception {code} ({name}), reading HoldingRegister 0"
    assert isinstance(error, NoAnswer if code in (10, 11) else pdu.RefusedCode)
