"""Whose time a board believes, and what an NTP server says: runs on CPython and on MicroPython."""

from device_fw.firmware import sntp
from device_fw.firmware.timekeeper import APART_MS, Timekeeper

T = 1795411715000
HOUR = 3600000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Bench:
    """A timekeeper and what it logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.time = Timekeeper(self._log)

    def _log(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))


def test_time_runs_on_from_what_was_told_last() -> None:
    time = Bench().time
    assert time.unix_ms(5) == 0
    time.own_clock(T, 100)
    assert time.unix_ms(100) == T
    assert time.unix_ms(90000000) == T + 89999900


def test_a_time_that_cannot_be_is_refused_and_logged_once() -> None:
    bench = Bench()
    for absurd in (946684800000, 1609459200000, 4102444800000, 1 << 60):
        bench.time.own_clock(absurd, 0)
    bench.time.own_clock(0, 0)
    assert (bench.time.unix_ms(0), [event for event, _ in bench.lines]) == (0, ["time_refused"])
    bench.time.gateway(7, 0)
    bench.time.ntp(946684800000, 0)
    assert bench.time.unix_ms(0) == 0
    bench.time.own_clock(T, 0)
    assert bench.time.unix_ms(0) == T


def test_the_gateway_corrects_a_clock_that_runs_ahead_or_behind() -> None:
    for wrong in (T - HOUR, T + HOUR):
        time = Bench().time
        time.own_clock(wrong, 0)
        assert time.gateway(T, 0) == T - wrong
        assert time.unix_ms(0) == T
        time.own_clock(wrong, 1000)
        assert time.unix_ms(1000) == T + 1000


def test_what_the_gateway_says_within_its_doubt_changes_nothing() -> None:
    time = Bench().time
    time.own_clock(T, 0)
    assert time.gateway(T + 80, 0, 100) == 0
    assert (time.unix_ms(0), time.source) == (T, "board")


def test_an_ntp_server_counts_more_than_the_gateway_within_five_minutes_of_it() -> None:
    bench = Bench()
    bench.time.gateway(T, 0)
    bench.time.ntp(T + APART_MS, 0)
    assert bench.time.unix_ms(0) == T + APART_MS
    bench.time.gateway(T, 0)
    assert bench.time.unix_ms(0) == T + APART_MS
    bench.time.ntp(T + APART_MS + 1, 0)
    assert bench.time.unix_ms(0) == T + APART_MS
    assert bench.lines[-1][0] == "time_refused"


def test_a_gateway_whose_clock_was_wrong_is_followed_there_and_back() -> None:
    time = Bench().time
    time.ntp(T, 0)
    assert time.gateway(T - 9 * HOUR, 0) == -9 * HOUR
    assert time.gateway(T, 0) == 9 * HOUR
    time.ntp(T + 40, 0)
    assert (time.unix_ms(0), time.source) == (T + 40, "ntp")


def test_the_own_clock_may_step_until_somebody_better_tells() -> None:
    bench = Bench()
    for step in (0, 5 * HOUR, -2 * HOUR):
        bench.time.own_clock(T + step, 0)
        assert bench.time.unix_ms(0) == T + step
    assert [fields["step_ms"] for _, fields in bench.lines] == [0, 5 * HOUR, -7 * HOUR]
    bench.time.gateway(T, 0)
    bench.time.own_clock(T + HOUR, 0)
    assert bench.time.unix_ms(0) == T


NONCE = b"12345678"


def answer(first: int = 0x24, stratum: int = 2, nonce: bytes = NONCE, seconds: int = 0, fraction: int = 0) -> bytes:
    sent = seconds.to_bytes(4, "big") + fraction.to_bytes(4, "big")
    return bytes((first, stratum)) + bytes(22) + nonce + bytes(8) + sent


def test_a_question_is_48_bytes_of_a_client_and_carries_the_nonce() -> None:
    asked = sntp.request(NONCE)
    assert (len(asked), asked[0] & 7, asked[40:]) == (48, 3, NONCE)


def test_an_answer_is_read_to_the_millisecond() -> None:
    assert sntp.parse(answer(seconds=2208988800, fraction=1 << 31), NONCE) == 500
    assert sntp.parse(answer(seconds=T // 1000 + 2208988800), NONCE) == T


def test_the_count_of_seconds_begins_anew_in_2036() -> None:
    assert sntp.parse(answer(seconds=1), NONCE) == 2085978497000


def test_what_is_no_answer_to_the_question_is_refused() -> None:
    good = answer(seconds=2208988800)
    for packet in (
        b"",
        good[:47],
        answer(first=0x23, seconds=9),  # a question
        answer(first=0xE4, seconds=9),  # not synchronised
        answer(stratum=0, seconds=9),  # kiss of death
        answer(stratum=16, seconds=9),
        answer(nonce=b"87654321", seconds=9),
        answer(seconds=0),
    ):
        try:
            sntp.parse(packet, NONCE)
        except ValueError:
            continue
        raise AssertionError(packet)
