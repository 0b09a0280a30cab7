"""Modbus over TCP, RTU and ASCII: `protocolName: modbus`.

    apiVersion: devices.kubeedge.io/v1beta1
    kind: Device
    metadata: {name: boiler, namespace: default}
    spec:
      deviceModelRef: {name: boiler-model}
      nodeName: edge1
      protocol:
        protocolName: modbus
        configData:
          ip: 192.168.1.40        # address or host name of the server; or serialPort: /dev/serial/by-id/...
          port: 502               # default
          slaveID: 1              # default; the unit behind the server or on the line, 0 to 255
          timeout: 1000           # ms, default
      properties:
        - name: temperature
          collectCycle: 1000      # ms
          reportCycle: 60000      # ms
          visitors:
            protocolName: modbus
            configData:
              register: HoldingRegister   # or InputRegister, CoilRegister, DiscreteInputRegister
              offset: 100                 # address of the first register, counted from 0
              limit: 1                    # how many registers; by default as many as the type takes
              type: int16                 # bool, int16 .. uint64, float16 .. float64, bcd16 .. bcd64, string, bytes
              scale: 0.1                  # value = register * scale + valueOffset, exactly
              isSwap: false               # exchange the bytes of each register
              isRegisterSwap: false       # least significant register first

All keys are in `modbus_address.Address` and `modbus_registers.VisitorConfig`. Without `type` the model's type and `limit` decide:
an INT of 1, 2 or 4 registers is int16, int32 or int64; a FLOAT or DOUBLE of 2 or 4 is float32 or float64, of 1 an int16 for
`scale` to make a fraction of; a BOOLEAN is true unless its register is 0.

One connection serves all units of a server or a line, and carries one request at a time (`modbus_connection`). A gateway's codes
10 and 11 mean that the unit behind it did not answer. Whatever else a unit refuses, it refuses for the properties asked for; what
it teaches by refusing is remembered (`modbus_blocks`). A unit that does not know a function for one register or coil, or for
some bits of a register, is written by another that does the same, from then on.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from msgspec import Struct, field

from edgewire.device import ModelProperty

from . import modbus_pdu as pdu
from .driver import BadAnswer, DriverError, Refused, Value, ValueRefused, VisitorKeys, Wanted
from .modbus_address import Address, Bus, pace
from .modbus_blocks import READ_FUNCTIONS, Block, Learned, group, halves, learn, learn_missing
from .modbus_connection import ModbusConnection
from .modbus_registers import WRITABLE, Visitor, VisitorConfig, make_visitor

log = logging.getLogger(__name__)

_CANNOT_SPAN = (pdu.ILLEGAL_ADDRESS, pdu.ILLEGAL_VALUE)
"""What devices answer to a read across registers that they do not have, or across too many."""
_TYPICAL_TURNAROUND_S = 0.005
_PLANS_KEPT = 64


class Modbus:
    """Modbus as the framework's `Drivers`."""

    protocol = "modbus"
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = VisitorConfig

    def bus(self, address: Address) -> Hashable:
        """The server or the line: its units share one connection."""
        return address.bus

    def visitor(self, address: Address, keys: VisitorConfig, model: ModelProperty) -> Visitor:
        """Where a property is. Raises DefinitionError."""
        return make_visitor(address, keys, model)

    def driver(self, bus: Bus) -> "ModbusDriver":
        """A driver for a server or a line."""
        return ModbusDriver(bus)


class _Plan(Struct):
    gap: int
    blocks: list[Block]


class _Unit(Struct):
    """What is known of one unit."""

    learned: Learned = field(default_factory=Learned)
    unknown: set[int] = field(default_factory=set)
    """Function codes that it does not know."""
    plans: dict[tuple[Visitor, ...], _Plan] = field(default_factory=dict)


class ModbusDriver:
    """Reads and writes the units of one server or one line."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pace = pace(bus)
        self._connection = ModbusConnection(bus)
        self._units: dict[int, _Unit] = {}
        self._heard: Callable[[Any, Value | DriverError], None] | None = None

    async def open(self) -> None:
        """Connects nothing: the first request does, within the timeout of the unit it asks."""

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def listen(self, visitors: Sequence[Visitor], heard: Callable[[Any, Value | DriverError], None]) -> None:
        """Tell what was broadcast: nobody confirms it."""
        self._heard = heard

    async def read(self, visitors: Sequence[Visitor]) -> Sequence[Value | DriverError]:
        """Read visitors of one unit in as few requests as can be. Raises NoAnswer or BusDown."""
        results: list[Value | DriverError] = [False] * len(visitors)
        for block in self._plan(visitors):
            await self._read(block, visitors, results)
        return results

    async def write(self, visitor: Visitor, value: Wanted) -> None:
        """Write coils (functions 5 and 15) or registers (6 and 16). Raises ValueRefused, NoAnswer, BusDown, Refused."""
        if visitor.table not in WRITABLE:
            raise ValueRefused(f"a {visitor.table} cannot be written")
        if visitor.codec is None:
            number = _whole(value, visitor.count)
            await self._write_coils(visitor, visitor.start, visitor.count, number)
        else:
            await self._write_registers(visitor, visitor.codec.encode(value))
        if visitor.pushed and self._heard is not None:
            held = visitor.codec.decode(visitor.codec.encode(value)) if visitor.codec is not None else _whole(value, 64)
            self._heard(visitor, bool(held) if visitor.codec is None and visitor.count == 1 else held)

    async def write_bits(self, visitor: Visitor, mask: int, bits: int) -> None:
        """Write some bits of a register by mask write (function 22), or by reading and writing it; raises as `write`.

        Bits of several registers are read and written. Nothing else is on the bus meanwhile.
        """
        if visitor.table not in WRITABLE:
            raise ValueRefused(f"a {visitor.table} cannot be written")
        if visitor.pushed:
            raise ValueRefused("some bits cannot be broadcast: what the others hold differs from unit to unit")
        if visitor.codec is None:
            low = (mask & -mask).bit_length() - 1
            await self._write_coils(visitor, visitor.start + low, mask.bit_length() - low, bits >> low)
            return
        masks, wanted = visitor.codec.encode_bits(mask), visitor.codec.encode_bits(bits)
        places = [place for place in range(0, len(masks), 2) if any(masks[place : place + 2])]
        if len(places) == 1 and pdu.MASK_WRITE not in self._unit(visitor).unknown:
            (place,) = places
            words = (int.from_bytes(data[place : place + 2]) for data in (masks, wanted))
            request = pdu.mask_write(visitor.start + place // 2, *words)
            try:
                await self._connection.ask(visitor.unit, request, "writing bits of", visitor)
                return
            except pdu.RefusedCode as error:
                self._learn_unknown(visitor, request, error)
        request = pdu.read(READ_FUNCTIONS[visitor.table], visitor.start, visitor.count)
        held = await self._connection.ask(visitor.unit, request, "reading", visitor)
        data = bytes(h & ~m | w & m for h, m, w in zip(held, masks, wanted, strict=True))
        await self._write_registers(visitor, data)

    async def _write_coils(self, visitor: Visitor, start: int, count: int, number: int) -> None:
        bits = [bool(number >> place & 1) for place in range(count)]
        several = pdu.write_coils(start, bits)
        await self._write(visitor, [pdu.write_coil(start, bits[0]), several] if count == 1 else [several])

    async def _write_registers(self, visitor: Visitor, data: bytes) -> None:
        if visitor.count > pdu.MAX_WRITTEN:
            raise ValueRefused(f"more than {pdu.MAX_WRITTEN} registers cannot be written at once")
        several = pdu.write_registers(visitor.start, data)
        one = [pdu.write_register(visitor.start, data)] if visitor.count == 1 else []
        await self._write(visitor, [*one, several])

    async def _write(self, visitor: Visitor, ways: Sequence[pdu.Request]) -> None:
        """Send the first of some requests, all the same to a unit, that it knows."""
        if visitor.unit.broadcast:
            await self._connection.tell(visitor.unit, ways[0])
            return
        known = [request for request in ways if request.function not in self._unit(visitor).unknown] or ways
        for request in known:
            try:
                await self._connection.ask(visitor.unit, request, "writing", visitor)
                return
            except pdu.RefusedCode as error:
                if request is known[-1]:
                    raise
                self._learn_unknown(visitor, request, error)

    def _learn_unknown(self, visitor: Visitor, request: pdu.Request, error: pdu.RefusedCode) -> None:
        """A unit does not know a function. Raises the error again when it says something else."""
        if error.code != pdu.ILLEGAL_FUNCTION:
            raise error
        self._unit(visitor).unknown.add(request.function)

    async def _read(self, block: Block, visitors: Sequence[Visitor], results: list[Value | DriverError]) -> bool:
        """Read one block, or its parts when the unit refuses it as a whole; whether it did not."""
        unit = visitors[block.members[0]].unit
        try:
            data = await self._connection.ask(unit, block.request, "reading", block)
        except (Refused, BadAnswer) as error:
            spans = isinstance(error, pdu.RefusedCode) and error.code in _CANNOT_SPAN
            parts = halves(visitors, block) if spans else None
            if parts is None:
                for number in block.members:
                    results[number] = error
                known = self._unit(visitors[0])
                if spans and len(visitors) > 1 and learn_missing(known.learned, block):
                    known.plans.clear()
                return False
            answered = [await self._read(part, visitors, results) for part in parts]
            self._learn(unit, block, parts, answered=all(answered))
            return False
        block.decoder.decode(data, results)
        return True

    def _learn(self, unit: Address, whole: Block, parts: tuple[Block, Block], *, answered: bool) -> None:
        known = self._units[unit.slave_id]
        lesson = learn(known.learned, whole, parts, answered=answered)
        if lesson:
            known.plans.clear()
            log.info("= unit refuses a request bus=%s unit=%d learned=%s", self._bus, unit.slave_id, lesson)

    def _plan(self, visitors: Sequence[Visitor]) -> list[Block]:
        if not visitors:
            return []
        unit, known = visitors[0].unit, self._unit(visitors[0])
        turnaround_s = self._connection.turnaround_s.get(unit.slave_id, _TYPICAL_TURNAROUND_S)
        gap = self._pace.gap(turnaround_s) if unit.gap is None else unit.gap
        key = tuple(visitors)
        plan = known.plans.get(key)
        if plan is None or abs(plan.gap - gap) > max(2, plan.gap // 4):
            if len(known.plans) >= _PLANS_KEPT:
                known.plans.clear()
            plan = known.plans[key] = _Plan(gap, group(visitors, gap, known.learned))
        return plan.blocks

    def _unit(self, visitor: Visitor) -> _Unit:
        slave_id = visitor.unit.slave_id
        known = self._units.get(slave_id)
        if known is None:
            known = self._units[slave_id] = _Unit()
        return known


def _whole(value: Wanted, bits: int) -> int:
    """A number to write into coils."""
    try:
        number = int(value) if isinstance(value, bool | str) else -1 if isinstance(value, bytes) else value
        if number == int(number) and 0 <= number < 1 << bits:
            return int(number)
    except ValueError:
        pass
    raise ValueRefused("a coil holds 0 or 1" if bits == 1 else f"{bits} coils hold 0 to {(1 << bits) - 1}")
