"""What one session takes of the memory for messages that wait, beside all others."""

import logging

from edge_gateway.broker.limits import Limits

log = logging.getLogger(__name__)


class Total:
    """What the sessions of one broker take together."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Share:
    """One session's part of it, and what it lost when that was too much."""

    __slots__ = ("_client_id", "_limits", "_lost", "_total", "bytes")

    def __init__(self, client_id: str, limits: Limits, total: Total) -> None:
        self.bytes = 0
        self._client_id = client_id
        self._limits = limits
        self._lost = 0
        self._total = total

    def add(self, size: int) -> None:
        """It takes so many bytes more, or less."""
        self.bytes += size
        self._total.bytes += size

    @property
    def crowded(self) -> bool:
        """Whether all sessions together have too much."""
        return self._total.bytes > self._limits.waiting_bytes

    def too_much(self, waiting: int) -> bool:
        """Whether this one must drop of its `waiting` messages."""
        limits = self._limits
        if waiting > limits.queue or self.bytes > limits.queue_bytes:
            return True
        # When all sessions together have too much, the one that has little does not pay for it.
        return self.crowded and self.bytes > limits.waiting_bytes // limits.sessions

    def lose(self, waiting: int) -> None:
        """It drops the oldest of its `waiting` messages; logged when that begins."""
        if not self._lost:
            log.warning("queue is full, dropping the oldest client=%r messages=%d", self._client_id, waiting)
        self._lost += 1

    def empty(self) -> None:
        """Nothing waits any more; logged when it lost something before."""
        if self._lost:
            log.info("queue is empty again client=%r dropped=%d", self._client_id, self._lost)
            self._lost = 0
