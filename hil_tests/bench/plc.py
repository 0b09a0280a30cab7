"""An emulated PLC: a real Modbus TCP server (pymodbus's) with a boiler and a meter behind it, whose values move.

The boiler, unit 1, heats towards its setpoint while its pump runs, and cools when it does not; the meter, unit 2, counts what
that costs. `plc.yaml` beside this file holds their manifests. A test starts a `Plc` in its own loop, sets and reads registers
by name (`boiler/setpoint`), and makes it misbehave in the ways of `faults.py`. Run as a program it serves for as long as it runs,
keeps the writable registers in a JSON file, so that another process sees them follow, and misbehaves as another file says:

    python -m hil_tests.bench.plc --port 5502 --state-file plc.json --faults-file faults.json
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import struct
from pathlib import Path

from msgspec import Struct
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgewire.service import serve_until_signalled

from .faults import Fault, follow

log = logging.getLogger(__name__)

STEP_S = 0.2
"""Between two movements of the values."""

_READ_FUNCTION = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_WRITE_FUNCTION = {"coil": 5, "discrete": 2, "holding": 16, "input": 4}
_WRITES = frozenset({5, 6, 15, 16, 22, 23})
_UNIT_AT = 6  # in the header of Modbus TCP
_CODES = {"int16": ">h", "uint16": ">H", "uint32": ">I", "float32": ">f"}


class Register(Struct, frozen=True):
    """Where a value is, and how a user reads it: value = register * scale."""

    unit: int
    table: str
    address: int
    type: str
    start: float
    scale: float = 1.0
    writable: bool = False

    @property
    def words(self) -> int:
        """Registers it takes; 1 for a bit."""
        return 1 if self.type == "bit" else struct.calcsize(_CODES[self.type]) // 2

    def encode(self, value: float) -> list[int] | list[bool]:
        """What the registers hold for a value."""
        if self.type == "bit":
            return [bool(value)]
        raw = value if self.type == "float32" else round(value / self.scale)
        return list(struct.unpack(f">{self.words}H", struct.pack(_CODES[self.type], raw)))

    def decode(self, held: list[int] | list[bool]) -> float:
        """The value that registers hold."""
        if self.type == "bit":
            return bool(held[0])
        (raw,) = struct.unpack(_CODES[self.type], struct.pack(f">{self.words}H", *held))
        return float(raw) if self.type == "float32" else round(raw * self.scale, 6)


REGISTERS = {
    "boiler/temperature": Register(1, "input", 0, "int16", 18.0, scale=0.1),
    "boiler/pressure": Register(1, "input", 1, "uint16", 1.2, scale=0.01),
    "boiler/alarm": Register(1, "discrete", 0, "bit", 0),
    "boiler/pump": Register(1, "coil", 0, "bit", 1, writable=True),
    "boiler/setpoint": Register(1, "holding", 0, "int16", 60.0, scale=0.1, writable=True),
    "meter/power": Register(2, "input", 0, "float32", 250.0),
    "meter/voltage": Register(2, "input", 10, "uint16", 230.0, scale=0.1),
    "meter/energy": Register(2, "input", 20, "uint32", 123_456),
    "meter/tariff": Register(2, "holding", 0, "uint16", 1, writable=True),
}
"""Every register of the PLC, by `<unit's name>/<property>`."""


UNITS = {"boiler": 1, "meter": 2}


class Plc:
    """The PLC; start it in the loop that is to serve it."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, moving: bool = True, state_file: Path | None = None
    ) -> None:
        """`port` 0 takes a free one, the same again after a restart. With `moving` False only others change values."""
        self.host = host
        self.port = port
        self.requests: list[tuple[int, int, int, int]] = []
        """Every request of a client: (unit, function code, address, count); the last thousand."""
        self.faults = {unit: Fault() for unit in UNITS.values()}
        self._moving = moving
        self._state_file = state_file
        self._server: ModbusTcpServer | None = None
        self._mover: asyncio.Task[None] | None = None
        self._own = False  # a request of this class, not of a client

    async def start(self) -> None:
        """Listen, with every register at its start value."""
        units = {r.unit for r in REGISTERS.values()}
        devices = [_device(unit, _Watch(self, unit)) for unit in sorted(units)]
        self._server = ModbusTcpServer(
            devices, address=(self.host, self.port), trace_pdu=self._count, trace_packet=self._spoil
        )
        await self._server.serve_forever(background=True)
        self.port = _port_of(self._server)
        await self._save()
        if self._moving:
            self._mover = asyncio.create_task(self._move(), name="plc")

    async def stop(self) -> None:
        """Close the server and every connection to it."""
        if self._mover is not None:
            self._mover.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._mover
            self._mover = None
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    async def get(self, register: str) -> float:
        """The value of a register of `REGISTERS`; a bool for a bit."""
        r = REGISTERS[register]
        assert self._server is not None, "not started"
        self._own = True
        held = await self._server.async_getValues(r.unit, _READ_FUNCTION[r.table], r.address, r.words)
        return r.decode(held)

    async def set(self, register: str, value: float) -> None:
        """Change a register from inside the PLC."""
        r = REGISTERS[register]
        assert self._server is not None, "not started"
        self._own = True
        await self._server.async_setValues(r.unit, _WRITE_FUNCTION[r.table], r.address, r.encode(value))
        if r.writable:
            await self._save()

    async def asked(self, unit: int, function: int) -> ExcCodes | None:
        """pymodbus asks before it answers a request: let it, hold it up, or refuse."""
        if self._own:
            self._own = False
            return None
        fault = self.faults[unit]
        if fault.disconnects and self._server is not None:
            for connection in list(self._server.active_connections.values()):
                connection.close()
        if fault.silent or fault.disconnects:
            await asyncio.get_running_loop().create_future()
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if function in fault.refuses:
            return ExcCodes(fault.refuses[function])
        if function in _WRITES:
            asyncio.get_running_loop().call_soon(self._written)
        return None

    def _count(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending:
            self.requests.append((pdu.dev_id, pdu.function_code, pdu.address, pdu.count))
            del self.requests[:-1000]
        return pdu

    def _spoil(self, sending: bool, data: bytes) -> bytes:
        """What goes on the wire instead of a right answer."""
        fault = self.faults.get(data[_UNIT_AT], Fault()) if sending and len(data) > _UNIT_AT else Fault()
        if fault.wrong_unit:
            data = data[:_UNIT_AT] + bytes((data[_UNIT_AT] ^ 0x40,)) + data[_UNIT_AT + 1 :]
        if fault.short:
            data = data[:-2]
        if fault.garbled:
            data = data[:2] + b"\xff\xff" + data[4:]
        return b"\x00\xff\x55" * fault.noise + data

    def _written(self) -> None:
        """A client's write is done: it was done in the step that asked for it."""
        task = asyncio.ensure_future(self._save())
        task.add_done_callback(lambda done: done.result())

    async def _save(self) -> None:
        if self._state_file is None:
            return
        values = {name: await self.get(name) for name, r in REGISTERS.items() if r.writable}
        fresh = self._state_file.with_name(self._state_file.name + ".new")
        fresh.write_text(json.dumps(values))
        os.replace(fresh, self._state_file)

    async def _move(self) -> None:
        chance = random.Random(1)
        temperature, energy = await self.get("boiler/temperature"), await self.get("meter/energy")
        while True:
            await asyncio.sleep(STEP_S)
            pump, setpoint = await self.get("boiler/pump"), await self.get("boiler/setpoint")
            temperature += ((setpoint if pump else 18.0) - temperature) * 0.03 + chance.uniform(-0.1, 0.1)
            power = 250.0 + 45.0 * max(0.0, setpoint - temperature) * bool(pump) + chance.uniform(-5, 5)
            energy += power / 600
            await self.set("boiler/temperature", temperature)
            await self.set("boiler/pressure", 1.0 + temperature / 100)
            await self.set("boiler/alarm", temperature > 95)
            await self.set("meter/power", power)
            await self.set("meter/voltage", 230 + chance.uniform(-2, 2))
            await self.set("meter/energy", energy)


class _Watch:
    """What pymodbus calls for one unit before each answer."""

    def __init__(self, plc: Plc, unit: int) -> None:
        self._plc = plc
        self._unit = unit

    async def action(
        self, function: int, _start: int, _address: int, _count: int, _held: list[int], _values: object
    ) -> ExcCodes | None:
        return await self._plc.asked(self._unit, function)


def _device(unit: int, watch: _Watch) -> SimDevice:
    tables: dict[str, list[SimData]] = {"coil": [], "discrete": [], "holding": [], "input": []}
    for r in REGISTERS.values():
        if r.unit == unit:
            bits = r.type == "bit"
            type = DataType.BITS if bits else DataType.REGISTERS
            values: list[int] | list[bool] = r.encode(r.start) + [False] * 15 if bits else r.encode(r.start)
            tables[r.table].append(SimData(r.address, values=values, datatype=type))
    for table, blocks in tables.items():
        if not blocks:  # pymodbus wants something in every table
            bits = table in ("coil", "discrete")
            values = [False] * 16 if bits else [0]
            blocks.append(SimData(0, values=values, datatype=DataType.BITS if bits else DataType.REGISTERS))
    simdata = tables["coil"], tables["discrete"], tables["holding"], tables["input"]
    return SimDevice(unit, simdata=simdata, action=watch.action)


def _port_of(server: ModbusTcpServer) -> int:
    listening = server.transport  # an asyncio.Server, though typed as a transport
    if not isinstance(listening, asyncio.Server):
        raise OSError(f"cannot listen on {server.comm_params.source_address}")
    return int(listening.sockets[0].getsockname()[1])


class _Service:
    """The PLC as a process of its own."""

    name = "plc"

    def __init__(self, plc: Plc, faults_file: Path | None) -> None:
        self._plc = plc
        self._faults_file = faults_file

    async def run(self, ready: asyncio.Event) -> None:
        await self._plc.start()
        try:
            log.info("= plc listening host=%s port=%d", self._plc.host, self._plc.port)
            ready.set()
            if self._faults_file is not None:
                await follow(self._faults_file, self._plc.faults, UNITS)
            await asyncio.get_running_loop().create_future()
        finally:
            await self._plc.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="An emulated PLC on Modbus TCP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5502, help="0 takes a free one and logs it")
    parser.add_argument(
        "--state-file", type=Path, help="JSON: the writable registers, replaced whenever one is written"
    )
    parser.add_argument("--faults-file", type=Path, help="JSON, read again when it changes: hil_tests/bench/faults.py")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

    async def serve() -> None:
        plc = Plc(host=options.host, port=options.port, state_file=options.state_file)
        await serve_until_signalled(_Service(plc, options.faults_file))

    asyncio.run(serve())


if __name__ == "__main__":
    main()
