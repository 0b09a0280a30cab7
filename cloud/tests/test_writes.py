"""Writes: one request in flight an object, a bounded pace, rest while the API server is away."""

from collections.abc import Iterator

import pytest

from cloud.writes import NO_ANSWER, Answer, Writes

OK, AWAY = Answer(200), Answer(NO_ANSWER)


def writes(qps: float = 10, burst: int = 100, window: int = 32) -> Writes:
    def seconds() -> Iterator[float]:
        yield from (1.0, 2.0, 4.0)
        while True:
            yield 5.0

    return Writes(qps=qps, burst=burst, now=0.0, window=window, delays=seconds)


def test_a_key_marked_often_has_one_turn() -> None:
    w = writes()
    for _ in range(5):
        w.mark("a")
    assert w.due(0) == ["a"]
    assert w.due(0) == []


def test_a_key_marked_in_flight_has_another_turn_after_the_answer() -> None:
    w = writes()
    w.mark("a")
    w.due(0)
    w.mark("a")
    assert w.due(0) == []
    w.finished("a", OK, False, 0)
    assert w.due(0) == ["a"]
    w.finished("a", OK, False, 0)
    assert w.unfinished == 0


def test_keys_have_their_turns_in_the_order_in_which_they_were_marked() -> None:
    w = writes(window=2)
    for key in "cab":
        w.mark(key)
    assert w.due(0) == ["c", "a"]
    w.mark("c")
    w.finished("c", OK, False, 0)
    assert w.due(0) == ["b"]


def test_after_a_burst_the_pace_is_qps() -> None:
    w = writes(qps=10, burst=5, window=1000)
    for n in range(100):
        w.mark(str(n))
    assert len(w.due(0)) == 5
    assert w.next_due(0) == pytest.approx(0.1)
    assert len(w.due(1.0)) == 5 or len(w.due(1.0)) == 10
    sent = sum(len(w.due(t / 10)) for t in range(11, 61))
    assert 48 <= sent <= 52


def test_a_quiet_time_earns_no_more_than_a_burst() -> None:
    w = writes(qps=10, burst=5)
    for n in range(100):
        w.mark(str(n))
    assert len(w.due(1000)) == 5


def test_a_key_with_nothing_to_write_costs_no_token() -> None:
    w = writes(qps=1, burst=1)
    w.mark("a")
    w.mark("b")
    assert w.due(0) == ["a"]
    w.idle("a")
    assert w.due(0) == ["b"]


def test_everything_rests_while_the_api_server_is_away_and_one_request_probes() -> None:
    w = writes()
    for key in "abcd":
        w.mark(key)
    for key in w.due(0):
        w.finished(key, AWAY, True, 0)
    assert w.due(0.9) == []
    assert w.next_due(0.9) == 1.0
    [probe] = w.due(1.0)
    assert w.next_due(1.0) is None
    w.finished(probe, AWAY, True, 1.1)
    assert w.due(3.0) == []
    [probe] = w.due(3.2)
    w.finished(probe, OK, False, 3.2)
    assert len(w.due(3.2)) == 3


def test_the_requests_that_fail_together_lengthen_the_rest_once() -> None:
    w = writes()
    for n in range(20):
        w.mark(str(n))
    for key in w.due(0):
        w.finished(key, AWAY, True, 0)
    assert w.next_due(0) == 1.0


def test_retry_after_is_honoured() -> None:
    w = writes()
    w.mark("a")
    w.due(0)
    w.finished("a", Answer(429, retry_after_s=7.0), True, 0)
    w.mark("b")
    assert w.due(6.9) == []
    assert w.due(7.0) == ["a", "b"]


def test_what_is_turned_away_waits_and_no_more_go_at_once_than_were_taken() -> None:
    w = writes(burst=1000)
    keys = [str(number) for number in range(40)]
    for key in keys:
        w.mark(key)
    flying = w.due(0)
    assert len(flying) == 32
    for key in flying[3:]:
        w.finished(key, Answer(429, retry_after_s=1.0), True, 0)
    assert w.due(0) == []
    for key in flying[:3]:
        w.finished(key, OK, False, 0)
    assert w.due(0) == keys[32:36], "one more than before, for all three were taken"
    for key in keys[32:36]:
        w.finished(key, OK, False, 0.1)
    assert w.due(0.1) == keys[36:]
    assert w.due(0.9) == []
    for key in keys[36:]:
        w.finished(key, OK, False, 0.9)
    assert w.due(1.0) == flying[3:8], "those that were turned away, at their time"


def test_a_conflict_delays_its_own_key_only() -> None:
    w = writes()
    w.mark("a")
    w.due(0)
    w.finished("a", Answer(409), True, 0)
    w.mark("b")
    assert w.due(0) == ["b"]
    assert w.next_due(0) == pytest.approx(0.2)
    assert w.due(0.2) == ["a"]


def test_marking_wakes_whoever_waits() -> None:
    w = writes()
    woken: list[int] = []
    w.wake = lambda: woken.append(1)
    w.mark("a")
    assert woken == [1]


def test_nothing_is_due_when_nothing_waits() -> None:
    assert writes().next_due(0) is None


def test_a_forgotten_key_has_no_turn() -> None:
    w = writes()
    w.mark("a")
    w.forget("a")
    assert w.due(0) == []
