"""What a node and its containers use of processors and memory, as a node tells it when it is asked. No I/O.

Processor time is counted since something was started and never falls, as a kubelet tells it: who wants to know how much that is
now asks twice.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edgewire.message import UNREADABLE

LIMIT_BYTES = 1024 * 1024
"""Of an answer: more than 110 pods of eight containers take."""


Moment = Annotated[float, Meta(ge=-1e9, le=253402300799)]
"""Seconds since 1970, in years that a calendar has; before 1970 a machine was started whose clock was not set."""


class UsageError(Exception):
    """What is no answer of a node."""


class ContainerUsage(Struct, frozen=True, rename="camel"):
    """One container that runs."""

    namespace: str
    pod: str
    uid: str
    """The pod's."""
    name: str
    at: Moment
    """When that was so, seconds since 1970."""
    started_at: Moment
    cpu_ns: int
    """Processor time since then, nanoseconds."""
    memory_bytes: int
    """The working set: what cannot be had back at once."""


class NodeUsage(Struct, frozen=True, rename="camel"):
    """A machine and the containers on it."""

    at: Moment
    started_at: Moment
    cpu_ns: int
    memory_bytes: int
    containers: tuple[ContainerUsage, ...] = ()


_decoder = msgspec.json.Decoder(NodeUsage)


def encode(usage: NodeUsage) -> bytes:
    """As it goes over the link."""
    return msgspec.json.encode(usage)


def decode(content: bytes) -> NodeUsage:
    """From what came over the link. Raises UsageError."""
    try:
        return _decoder.decode(content)
    except UNREADABLE as error:
        raise UsageError(str(error)) from error
