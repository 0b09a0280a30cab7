"""Cycles of devices defined one after the other, which wake the process together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.cycles import SLOT_S, Cycles


def first_and_second(cycle: float, defined_at: float) -> tuple[float, float]:
    cycles = Cycles("d/a")
    cycles.follow([cycle], defined_at)
    first = cycles.next
    cycles.advance(defined_at, "bus", on_time=False)
    return first, cycles.next


@pytest.mark.parametrize(("cycle", "apart_s"), [(0.15, 0.1), (1.0, 0.2), (60.0, 0.2)])
def test_devices_defined_one_after_the_other_are_due_together(cycle: float, apart_s: float) -> None:
    begin = 1000 * cycle
    seconds = {round(first_and_second(cycle, begin + share * apart_s)[1], 6) for share in (0.01, 0.5, 0.99)}
    assert len(seconds) == 1


@given(st.floats(0.001, 3600), st.floats(0, 10**6))
def test_a_new_cycle_is_due_at_once_and_never_later_than_it_says(cycle: float, now: float) -> None:
    first, second = first_and_second(cycle, now)
    assert now - SLOT_S <= first <= now
    assert now < second <= now + cycle * (1 + 1e-9) + 1e-9
