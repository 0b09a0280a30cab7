"""Emulated energy meters on a Modbus RTU line: a pty with the pace of its baud rate, written byte by byte from the specification.

Two meters, units 1 and 2, share the line. Their values move; they can be slow, silent, noisy, short, garbled or refusing, by
`faults` in a test and by `--faults-file` while the program runs. Nothing of it is shared with the driver that reads them.
`rtu_meter.yaml` beside this file holds their manifests.

    python -m hil_tests.bench.rtu_meter --link /tmp/meter --baud 9600
"""

import argparse
import asyncio
import contextlib
import logging
import random
import struct
from collections.abc import Coroutine
from pathlib import Path

from edgewire.service import serve_until_signalled

from .faults import Fault, follow
from .paced_pty import PacedPty

log = logging.getLogger(__name__)

STEP_S = 0.2
"""Between two movements of the values."""
UNITS = {"meter-1": 1, "meter-2": 2}
BROADCAST = 0
TURNAROUND_S = 0.003
"""What a real meter takes to begin its answer."""
REGISTERS = 200
INPUT, HOLDING, COILS = 4, 3, 1
"""Tables of a unit, by the function that reads them."""

_WRITES_ONE, _WRITES_MANY, _MASK_WRITE = (5, 6), (15, 16), 22


class RtuMeters:
    """The line and its meters; make it in the loop that is to serve it, and `close` it."""

    def __init__(self, baud: int = 9600, *, ascii: bool = False, moving: bool = True) -> None:
        """With `moving` False only others change values."""
        self.pty = PacedPty(self._heard, baud)
        self.faults = {unit: Fault() for unit in UNITS.values()}
        self.requests: list[tuple[int, int, int, int]] = []
        """Every request: (unit, function code, address, and count or value)."""
        self.tables = {
            unit: {
                INPUT: [1000 * unit + n for n in range(REGISTERS)],
                HOLDING: [1000 * unit + n for n in range(REGISTERS)],
                COILS: [n % 2 for n in range(REGISTERS)],
            }
            for unit in UNITS.values()
        }
        self._ascii = ascii
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._energy = dict.fromkeys(UNITS.values(), 123_456.0)
        if moving:
            self._start(self._move())

    def close(self) -> None:
        """Switch everything off."""
        for task in self._tasks:
            task.cancel()
        self.pty.close()

    def put(self, unit: int, address: int, code: str, value: float) -> None:
        """Put a value into input registers, big-endian; `code` is that of `struct`."""
        data = struct.pack(">" + code, value)
        words = struct.unpack(f">{len(data) // 2}H", data)
        self.tables[unit][INPUT][address : address + len(words)] = words

    def _heard(self, data: bytes) -> None:
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            unit, pdu = frame
            self.requests.append((unit, *struct.unpack(">BHH", pdu[:5])))
            if unit == BROADCAST:
                for each in self.tables:
                    self._answer(each, pdu)
            elif unit in self.tables:
                self._start(self._reply(unit, pdu))

    def _next_frame(self) -> tuple[int, bytes] | None:
        if self._ascii:
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                return None
            self._buffer = rest
            frame = bytes.fromhex(line[1:].decode())
            return (frame[0], frame[1:-1]) if sum(frame) & 0xFF == 0 else None
        if len(self._buffer) < 8:
            return None
        function = self._buffer[1]
        size = 9 + self._buffer[6] if function in _WRITES_MANY else 10 if function == _MASK_WRITE else 8
        if len(self._buffer) < size:
            return None
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        if _crc(frame[:-2]) != frame[-2:]:
            self._buffer = b""
            return None
        return frame[0], frame[1:-2]

    async def _reply(self, unit: int, pdu: bytes) -> None:
        fault = self.faults[unit]
        if fault.silent or fault.disconnects:
            return
        await asyncio.sleep(fault.delay_s or TURNAROUND_S)
        answer = self._answer(unit, pdu)
        if pdu[0] in fault.refuses:
            answer = bytes((pdu[0] | 0x80, fault.refuses[pdu[0]]))
        elif fault.short and pdu[0] in (INPUT, HOLDING):
            answer = bytes((pdu[0], answer[1] - 2)) + answer[2:-2]
        frame = self._frame(unit + 1 if fault.wrong_unit else unit, answer)
        if fault.garbled:
            frame = frame[:-3] + bytes((frame[-3] ^ 1,)) + frame[-2:]
        await self.pty.send(b"\x00\xff\x55" * fault.noise + frame)

    def _frame(self, unit: int, pdu: bytes) -> bytes:
        frame = bytes((unit,)) + pdu
        if self._ascii:
            return b":" + frame.hex().upper().encode() + b"%02X\r\n" % (-sum(frame) & 0xFF)
        return frame + _crc(frame)

    def _answer(self, unit: int, pdu: bytes) -> bytes:
        function, address, count = struct.unpack(">BHH", pdu[:5])
        if function in (1, 2, 3, 4):
            return self._read(unit, function, address, count)
        if address + (count if function in _WRITES_MANY else 1) > REGISTERS:
            return bytes((function | 0x80, 2))
        tables = self.tables[unit]
        if function == 5:
            tables[COILS][address] = int(count == 0xFF00)
        elif function == 6:
            tables[HOLDING][address] = count
        elif function == 15:
            bits = int.from_bytes(pdu[6:], "little")
            tables[COILS][address : address + count] = [bits >> n & 1 for n in range(count)]
        elif function == 16:
            tables[HOLDING][address : address + count] = struct.unpack(f">{count}H", pdu[6:])
        elif function == _MASK_WRITE:
            kept, set_ = count, int.from_bytes(pdu[5:7], "big")
            tables[HOLDING][address] = tables[HOLDING][address] & kept | set_ & ~kept
        else:
            return bytes((function | 0x80, 1))
        return pdu[:5] if function in _WRITES_MANY else pdu

    def _read(self, unit: int, function: int, address: int, count: int) -> bytes:
        if address + count > REGISTERS:
            return bytes((function | 0x80, 2))
        if function in (3, 4):
            words = self.tables[unit][function][address : address + count]
            return bytes((function, 2 * count)) + struct.pack(f">{count}H", *words)
        bits = sum(bit << n for n, bit in enumerate(self.tables[unit][COILS][address : address + count]))
        return bytes((function, (count + 7) // 8)) + bits.to_bytes((count + 7) // 8, "little")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _move(self) -> None:
        chance = random.Random(1)
        while True:
            for unit in self.tables:
                power = 250 * unit + chance.uniform(-5, 5)
                self._energy[unit] += power / 600
                self.put(unit, 0, "f", 230 + chance.uniform(-2, 2))
                self.put(unit, 2, "f", power)
                self.put(unit, 10, "I", round(self._energy[unit]))
                self.put(unit, 12, "H", round(5000 + chance.uniform(-3, 3)))
            await asyncio.sleep(STEP_S)


def _crc(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


class _Service:
    """The meters as a process of their own."""

    name = "rtu-meter"

    def __init__(self, link: Path, baud: int, ascii: bool, faults_file: Path | None) -> None:
        self._link, self._baud, self._ascii, self._faults_file = link, baud, ascii, faults_file

    async def run(self, ready: asyncio.Event) -> None:
        meters = RtuMeters(self._baud, ascii=self._ascii)
        try:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(meters.pty.path)
            log.info("= meters on a line port=%s pty=%s baud=%d", self._link, meters.pty.path, self._baud)
            ready.set()
            if self._faults_file is not None:
                await follow(self._faults_file, meters.faults, UNITS)
            await asyncio.get_running_loop().create_future()
        finally:
            with contextlib.suppress(OSError):
                self._link.unlink()
            meters.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Two emulated meters on a Modbus RTU line.")
    parser.add_argument(
        "--link", type=Path, default=Path("rtu-meter"), help="the name under which its port can be opened"
    )
    parser.add_argument("--baud", type=int, default=9600)
    parser.add_argument("--ascii", action="store_true", help="speak Modbus ASCII instead")
    parser.add_argument(
        "--faults-file", type=Path, help="JSON, read again when it changes: see hil_tests/bench/faults.py"
    )
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve_until_signalled(_Service(options.link, options.baud, options.ascii, options.faults_file)))


if __name__ == "__main__":
    main()
