"""Retry delays: exponential with full jitter, so that a thousand nodes do not return at once. Pure; nothing here waits."""

import random
from collections.abc import Callable, Iterator


def delays(
    *, first_s: float = 1.0, limit_s: float = 30.0, draw: Callable[[], float] = random.random
) -> Iterator[float]:
    """Seconds to wait before each further try, without end: uniform in [0, ceiling), the ceiling doubling up to `limit_s`.

    `draw` gives a number in [0, 1). Full jitter as in Marc Brooker, "Exponential Backoff And Jitter", 2015.
    """
    ceiling = min(limit_s, first_s)
    while True:
        yield ceiling * draw()
        ceiling = min(limit_s, ceiling * 2)
