"""Who has a connection when there are not enough."""

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from mappers.ble_slots import Slots


def test_connections_are_given_while_there_are_some() -> None:
    slots = Slots(2)
    for who in "abc":
        slots.want(who)
    assert slots.grants() == ["a", "b"]
    assert slots.grants() == []
    slots.release("a", 1.0)
    assert slots.grants() == ["c"]


def test_a_busy_holder_is_left_alone_and_an_idle_one_must_leave_when_others_wait() -> None:
    slots = Slots(1)
    slots.want("a")
    slots.grants()
    slots.idle("a", 0.0)
    assert slots.victims(1.0) == [], "nobody waits"
    slots.busy("a")
    slots.want("b")
    assert slots.victims(1.0) == []
    slots.idle("a", 0.0)
    assert slots.victims(1.0) == ["a"]
    assert slots.leaving("a")
    assert slots.victims(1.0) == [], "it was told"
    slots.release("a", 2.0)
    assert slots.grants() == ["b"]


def test_a_promised_connection_is_kept_until_its_time() -> None:
    slots = Slots(1)
    slots.want("a")
    slots.grants()
    slots.idle("a", 10.0)
    slots.want("b")
    assert slots.victims(9.9) == []
    assert slots.next_at(9.9) == 10.0
    assert slots.victims(10.0) == ["a"]
    assert slots.next_at(10.0) is None


def test_who_was_served_longest_ago_goes_first() -> None:
    slots = Slots(1)
    for at, who in enumerate("abc"):
        slots.want(who)
        slots.grants()
        slots.release(who, float(at))
    slots.want("x")
    slots.grants()
    for who in "cba":
        slots.want(who)
    slots.release("x", 9.0)
    assert slots.grants() == ["a"]


def test_only_as_many_leave_as_wait() -> None:
    slots = Slots(3)
    for who in "abc":
        slots.want(who)
    slots.grants()
    for at, who in enumerate("bca"):
        slots.idle(who, float(at))
    slots.want("d")
    assert slots.victims(5.0) == ["b"], "idle for longest"


def test_who_gives_up_waiting_gets_nothing() -> None:
    slots = Slots(1)
    slots.want("a")
    slots.withdraw("a")
    slots.forget("a")
    assert slots.grants() == []
    slots.release("a", 0.0)
    assert slots.waiting == 0


@given(budget=st.integers(1, 4), devices=st.integers(1, 9), draws=st.lists(st.integers(0, 100), max_size=300))
def test_however_turns_fall_the_budget_holds_and_while_one_waits_no_other_has_two_turns(
    budget: int, devices: int, draws: list[int]
) -> None:
    slots, now = Slots(budget), 0.0
    held: set[Hashable] = set()
    since: dict[Hashable, list[Hashable]] = {}  # who waits -> who was served meanwhile
    for one in range(devices):
        slots.want(one)
        since[one] = []
    for draw in draws:
        now += 1
        for who in slots.grants():
            held.add(who)
            del since[who]
            for others in since.values():
                assert who not in others
                others.append(who)
        assert len(held) == min(budget, devices)
        ready = sorted(held, key=str)
        slots.idle(ready[draw % len(ready)], now)
        for who in slots.victims(now):
            held.remove(who)
            slots.release(who, now)
            slots.want(who)
            since[who] = []
