"""What the cores want done, and the time they are told."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from edge_gateway.edged.pods import Container, Handler, Probe
from edge_gateway.edged.probing import Kind
from edge_gateway.pod_reports import Happened

TERM, KILL = 15, 9
"""Signals, by the numbers that Linux has for them everywhere."""


class Now(NamedTuple):
    """The time twice: by a clock that only goes forward, and by the calendar; seconds both, the second since 1970."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the pod's volumes: then `prepared` or `not_prepared`."""


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing of the pod will run any more: drop its volumes."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt at a container: then `started`, `not_started`, or `failed_to_start`."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to a container's first process, or to all of it."""

    container: str
    attempt: int
    number: int
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Hook:
    """Make a lifecycle call: then `hooked`."""

    container: Container
    attempt: int
    which: Literal["postStart", "preStop"]
    handler: Handler
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Call:
    """Make a probe: then `probed`."""

    container: Container
    attempt: int
    kind: Kind
    probe: Probe


@dataclass(frozen=True, slots=True)
class Tell:
    """Something happened that the pod's user may want to know."""

    happened: Happened


Action = Prepare | Release | Start | Signal | Hook | Call | Tell
