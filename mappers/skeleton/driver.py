"""Devices of the protocol `skeleton`: `GET name` is answered by a value, `SET name value` by `ok`; else `error` and why.

Replace what is said on the wire by what your device speaks; what a driver has to do, and what it may leave to the framework, is
in `mappers.driver`. To try it beside a device:

    hedgerow mapper read device.yaml --driver mappers.skeleton.driver:Skeleton

and to run it, in mapper.yaml:

    mappers:
      - driver: mappers.skeleton.driver:Skeleton
"""

import asyncio
import contextlib
from collections.abc import Hashable, Sequence
from typing import Any

from msgspec import Struct, field

from edgewire.device import ModelProperty
from mappers.driver import (
    BadAnswer,
    BusDown,
    DefinitionError,
    DriverError,
    NoAnswer,
    Refused,
    Value,
    VisitorKeys,
    Wanted,
)


class Address(Struct, frozen=True):
    """A Device's `protocol.configData`: where it is. Every key is checked, and a misspelt one refused, before it is used."""

    host: str
    port: int = 7000
    timeout_ms: int = field(default=1000, name="timeout")
    """For an answer, and for a connection."""

    def __post_init__(self) -> None:
        if self.timeout_ms < 10:
            raise ValueError("`timeout` must be 10 ms at least")


class Keys(VisitorKeys, frozen=True, kw_only=True):
    """A property's `visitors.configData`, beside those that every protocol has."""

    name: str
    """The device's own name of the property."""


class Skeleton:
    """The protocol: reads its part of a Device, and makes a driver for each bus."""

    protocol = "skeleton"
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = Keys

    def bus(self, address: Address) -> Hashable:
        """Devices with equal buses share a driver and take turns. Here a bus is a connection."""
        return address

    def visitor(self, address: Address, keys: Keys, model: ModelProperty) -> str:
        """How one property is reached, in the form that `read` and `write` get it. Raises DefinitionError."""
        if not keys.name or " " in keys.name:
            raise DefinitionError("`name` must be one word")
        return keys.name

    def driver(self, bus: Any) -> "SkeletonDriver":
        """A driver for a bus; it is not opened yet."""
        return SkeletonDriver(bus)


class SkeletonDriver:
    """One connection. Never called twice at the same time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect. Raises BusDown."""
        at = f"{self._address.host}:{self._address.port}"
        try:
            async with asyncio.timeout(self._address.timeout_ms / 1000):
                self._reader, self._writer = await asyncio.open_connection(self._address.host, self._address.port)
        except TimeoutError as error:
            raise BusDown(f"no connection to {at} within {self._address.timeout_ms} ms") from error
        except OSError as error:
            raise BusDown(f"no connection to {at}: {error}") from error

    async def read(self, visitors: Sequence[str]) -> Sequence[Value | DriverError]:
        """A value or what went wrong, for each visitor in order. Raises NoAnswer or BusDown."""
        results: list[Value | DriverError] = []
        for name in visitors:
            try:
                results.append(await self._ask(f"GET {name}"))
            except (Refused, BadAnswer) as error:
                results.append(error)
        return results

    async def write(self, visitor: str, value: Wanted) -> None:
        """Write one property. Raises Refused, NoAnswer or BusDown; ValueRefused for what cannot be held."""
        await self._ask(f"SET {visitor} {value.hex() if isinstance(value, bytes) else value}")

    async def close(self) -> None:
        """Let go of the connection."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, line: str) -> str:
        """The answer to a line: text, of which the framework makes a number where the model asks for one."""
        if self._reader is None or self._writer is None:
            raise BusDown("not connected")
        try:
            async with asyncio.timeout(self._address.timeout_ms / 1000):
                self._writer.write(f"{line}\n".encode())
                await self._writer.drain()
                answer = await self._reader.readline()
        except TimeoutError as error:
            # An answer that comes late would be taken for that of the next question: begin anew.
            await self.close()
            await self.open()
            raise NoAnswer(f"no answer to {line!r} within {self._address.timeout_ms} ms") from error
        except (OSError, ValueError) as error:  # ValueError: a line without an end
            raise BusDown(f"the connection broke: {error}") from error
        if not answer.endswith(b"\n"):
            raise BusDown("the device closed the connection")
        try:
            text = answer.decode().strip()
        except UnicodeDecodeError as error:
            raise BadAnswer(f"{line!r} was answered by what is no text") from error
        if text.startswith("error"):
            raise Refused(f"{line!r} was answered {text!r}")
        return text
