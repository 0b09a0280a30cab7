"""Modbus TCP: `protocolName: modbus`.

    apiVersion: devices.kubeedge.io/v1beta1
    kind: Device
    metadata: {name: boiler, namespace: default}
    spec:
      deviceModelRef: {name: boiler-model}
      nodeName: edge1
      protocol:
        protocolName: modbus
        configData:
          ip: 192.168.1.40        # address or host name of the server
          port: 502               # default
          slaveID: 1              # default; the unit behind the server, 0 to 255
          timeout: 1000           # ms, default
          gap: 16                 # registers a read may span without need, default
          maxRegisters: 125       # the most in one answer, default
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
              type: int16                 # bool, int16 .. uint64, float32, float64, string, bytes
              scale: 0.1                  # value = register * scale + valueOffset, exactly
              isSwap: false               # exchange the bytes of each register
              isRegisterSwap: false       # least significant register first

Without `type` the model's type and `limit` decide: an INT of 1, 2 or 4 registers is int16, int32 or int64; a FLOAT or DOUBLE of
2 or 4 is float32 or float64, of 1 an int16 for `scale` to make a fraction of; a BOOLEAN is true unless its register is 0.

One connection serves all units of a server, and carries one request at a time. A gateway's codes 10 and 11 mean that the unit
behind it did not answer. Whatever else a unit refuses, it refuses for the properties asked for; a read that it refuses to make
across a gap is parted there, once and for all.
"""

import struct
from collections.abc import Hashable, Sequence
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from edgewire.device import ModelProperty

from .driver import BadAnswer, DriverError, Refused, Value, ValueRefused, VisitorKeys, Wanted
from .modbus_connection import ModbusConnection, RefusedCode, quiet
from .modbus_registers import (
    BITS,
    COIL,
    DISCRETE,
    HOLDING,
    INPUT,
    MAX_WRITTEN,
    WRITABLE,
    Address,
    Block,
    Server,
    Visitor,
    VisitorConfig,
    group,
    make_visitor,
    seams,
)  # fmt: skip

_READ = {
    COIL: (1, AsyncModbusTcpClient.read_coils),
    DISCRETE: (2, AsyncModbusTcpClient.read_discrete_inputs),
    HOLDING: (3, AsyncModbusTcpClient.read_holding_registers),
    INPUT: (4, AsyncModbusTcpClient.read_input_registers),
}
_WRITE_COIL = 5
_WRITE_REGISTER = 6
_WRITE_REGISTERS = 16

_CANNOT_SPAN = (2, 3)
"""What devices answer to a read across registers that they do not have, or across too many."""

_PLANS_KEPT = 64


class ModbusTcp:
    """Modbus TCP as the framework's `Drivers`."""

    protocol = "modbus"
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = VisitorConfig

    def bus(self, address: Address) -> Hashable:
        """The server: its units share one connection."""
        return address.server

    def visitor(self, address: Address, keys: VisitorConfig, model: ModelProperty) -> Visitor:
        """Where a property is. Raises DefinitionError."""
        return make_visitor(address, keys, model)

    def driver(self, bus: Server) -> "ModbusTcpDriver":
        """A driver for a server."""
        return ModbusTcpDriver(bus)


class ModbusTcpDriver:
    """Reads and writes the units of one Modbus TCP server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = ModbusConnection(server)
        self._plans: dict[tuple[Visitor, ...], list[Block]] = {}
        self._apart: dict[int, set[tuple[str, int]]] = {}

    async def open(self) -> None:
        """Connects nothing: the first request does, within the timeout of the unit it asks."""
        quiet()

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def read(self, visitors: Sequence[Visitor]) -> Sequence[Value | DriverError]:
        """Read visitors of one unit in as few requests as can be. Raises NoAnswer or BusDown."""
        results: list[Value | DriverError] = [BadAnswer("not read")] * len(visitors)
        waiting = list(self._plan(visitors))
        while waiting:
            block = waiting.pop(0)
            try:
                await self._read_block(block, visitors, results)
            except (Refused, BadAnswer) as error:
                parts = self._parted(block, visitors, error)
                waiting[:0] = parts
                if not parts:
                    for number in block.members:
                        results[number] = error
        return results

    async def write(self, visitor: Visitor, value: Wanted) -> None:
        """Write a coil (function 5), one register (6) or several (16). Raises ValueRefused, NoAnswer, BusDown, Refused."""
        if visitor.table not in WRITABLE:
            raise ValueRefused(f"a {visitor.table} cannot be written")
        if visitor.count > MAX_WRITTEN:
            raise ValueRefused(f"more than {MAX_WRITTEN} registers cannot be written at once")
        if visitor.codec is None:
            confirmed = await self._write_coil(visitor, _bit(value))
        else:
            words = struct.unpack(f">{visitor.count}H", visitor.codec.encode(value))
            confirmed = await (
                self._write_register(visitor, words[0]) if len(words) == 1 else self._write_registers(visitor, words)
            )
        if not confirmed:
            raise BadAnswer(f"{self._server} unit {visitor.unit.slave_id} confirmed another write than of {visitor}")

    async def _write_coil(self, at: Visitor, bit: bool) -> bool:
        async def request(client: AsyncModbusTcpClient) -> ModbusPDU:
            return await client.write_coil(at.start, bit, device_id=at.unit.slave_id)

        answer = await self._connection.ask(at.unit, f"writing {at}", _WRITE_COIL, request)
        return bool(answer.address == at.start and list(answer.bits) == [bit])

    async def _write_register(self, at: Visitor, word: int) -> bool:
        async def request(client: AsyncModbusTcpClient) -> ModbusPDU:
            return await client.write_register(at.start, word, device_id=at.unit.slave_id)

        answer = await self._connection.ask(at.unit, f"writing {at}", _WRITE_REGISTER, request)
        return bool(answer.address == at.start and list(answer.registers) == [word])

    async def _write_registers(self, at: Visitor, words: Sequence[int]) -> bool:
        async def request(client: AsyncModbusTcpClient) -> ModbusPDU:
            return await client.write_registers(at.start, list(words), device_id=at.unit.slave_id)

        answer = await self._connection.ask(at.unit, f"writing {at}", _WRITE_REGISTERS, request)
        return bool(answer.address == at.start and answer.count == len(words))

    async def _read_block(self, block: Block, visitors: Sequence[Visitor], results: list[Value | DriverError]) -> None:
        unit = visitors[block.members[0]].unit
        function, method = _READ[block.table]

        async def request(client: AsyncModbusTcpClient) -> ModbusPDU:
            return await method(client, block.start, count=block.count, device_id=unit.slave_id)

        answer = await self._connection.ask(unit, f"reading {block}", function, request)
        bits = block.table in BITS
        wanted, got = (-(-block.count // 8) * 8, len(answer.bits)) if bits else (block.count, len(answer.registers))
        if wanted != got:
            raise BadAnswer(
                f"{self._server} unit {unit.slave_id} answered {got} values instead of {wanted} for {block}"
            )
        data = b"" if bits else struct.pack(f">{block.count}H", *answer.registers)
        for number in block.members:
            visitor = visitors[number]
            place = visitor.start - block.start
            if visitor.codec is None:
                results[number] = bool(answer.bits[place])
                continue
            try:
                results[number] = visitor.codec.decode(data, 2 * place)
            except BadAnswer as error:
                results[number] = BadAnswer(f"{visitor}: {error}")

    def _plan(self, visitors: Sequence[Visitor]) -> list[Block]:
        key = tuple(visitors)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            apart = self._apart.get(visitors[0].unit.slave_id, set()) if visitors else set()
            plan = self._plans[key] = group(visitors, apart)
        return plan

    def _parted(self, block: Block, visitors: Sequence[Visitor], error: DriverError) -> list[Block]:
        """The parts to read instead of a block that the unit refuses, remembered from now on; none when it is not that."""
        if not isinstance(error, RefusedCode) or error.code not in _CANNOT_SPAN:
            return []
        apart = self._apart.setdefault(visitors[block.members[0]].unit.slave_id, set())
        new = seams(visitors, block) - apart
        if not new:
            return []
        apart |= new
        self._plans.clear()
        return [
            Block(part.table, part.start, part.count, tuple(block.members[number] for number in part.members))
            for part in group([visitors[number] for number in block.members], apart)
        ]


def _bit(value: Wanted) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1, "0", "1"):
        return value in (1, "1")
    raise ValueRefused("a coil holds 0 or 1")
