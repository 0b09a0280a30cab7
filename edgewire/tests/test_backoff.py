"""Retry delays."""

import statistics
from itertools import islice

from edgewire import backoff


def test_the_ceiling_doubles_up_to_the_limit() -> None:
    assert list(islice(backoff.delays(draw=lambda: 1.0), 7)) == [1, 2, 4, 8, 16, 30, 30]


def test_the_first_retry_comes_within_a_second() -> None:
    assert all(next(backoff.delays()) < 1.0 for _ in range(1000))


def test_a_thousand_nodes_do_not_return_at_once() -> None:
    """Full jitter: at every step the delays of many nodes fill the whole range evenly."""
    nodes = [list(islice(backoff.delays(), 6)) for _ in range(1000)]
    for step, ceiling in enumerate((1, 2, 4, 8, 16, 30)):
        drawn = sorted(delays[step] / ceiling for delays in nodes)
        assert 0 <= drawn[0] < 0.1
        assert 0.9 < drawn[-1] < 1.0
        assert 0.4 < statistics.mean(drawn) < 0.6


def test_a_limit_below_the_first_delay_is_kept() -> None:
    assert list(islice(backoff.delays(limit_s=0.5, draw=lambda: 1.0), 3)) == [0.5, 0.5, 0.5]
