"""Instruments of the bench, emulated or real: they answer, misbehave as told, and come back after a power cut."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import reduce

import pytest
import serial

from hil_tests.bench.boards import Instrument

WAIT_S = 0.5
COMES_S = 15.0
READ = struct.pack(">BBHH", 1, 3, 0, 1)  # unit 1: one holding register; an exception is an answer too

SCAN = """
import asyncio, sys
from bleak import BleakScanner
async def main():
    async with asyncio.timeout(20):
        async with BleakScanner(**({"adapter": sys.argv[1]} if sys.argv[1] else {})) as scanner:
            async for device, advertisement in scanner.advertisement_data():
                print("heard", device.address)
                return
asyncio.run(main())
"""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + COMES_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {COMES_S:.0f} s: {what}"
        time.sleep(0.02)


def answers_tcp(instrument: Instrument) -> bool:
    """Whether a Modbus TCP server answers."""
    host, _, port = instrument.address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), WAIT_S) as line:
        line.settimeout(WAIT_S)
        line.sendall(struct.pack(">HHH", 1, 0, len(READ)) + READ)
        return line.recv(260)[6:7] == b"\x01"
    return False


def answers_rtu(instrument: Instrument) -> bool:
    """Whether a Modbus unit answers on its line."""

    def crc(sum_: int, byte: int) -> int:
        sum_ ^= byte
        for _ in range(8):
            sum_ = sum_ >> 1 ^ (0xA001 if sum_ & 1 else 0)
        return sum_

    with (
        contextlib.suppress(OSError, serial.SerialException),
        serial.Serial(instrument.address, 9600, timeout=WAIT_S) as line,
    ):
        line.write(READ + struct.pack("<H", reduce(crc, READ, 0xFFFF)))
        return bool(line.read(5)[:1] == b"\x01")
    return False


def talks(instrument: Instrument) -> bool:
    """Whether something comes from a serial port by itself."""
    with (
        contextlib.suppress(OSError, serial.SerialException),
        serial.Serial(instrument.address, 9600, timeout=WAIT_S) as line,
    ):
        return bool(line.read(4))
    return False


def misbehaves_and_is_well(instrument: Instrument, answers: Callable[[Instrument], bool]) -> None:
    until(lambda: answers(instrument), "it answers")
    instrument.fault("silence")
    until(lambda: not answers(instrument), "it is silent")
    instrument.fault("none")
    until(lambda: answers(instrument), "it answers again")
    instrument.power_off()
    assert not answers(instrument)
    instrument.power_on()
    until(lambda: answers(instrument), "it answers after a power cut")


@pytest.mark.needs("modbus-tcp")
def test_a_modbus_server_answers(instrument: Instrument) -> None:
    until(lambda: answers_tcp(instrument), "it answers")


@pytest.mark.needs("modbus-tcp", "instrument.faults", "instrument.power")
def test_a_modbus_server_is_silent_when_told_and_comes_back(instrument: Instrument) -> None:
    misbehaves_and_is_well(instrument, answers_tcp)


@pytest.mark.needs("modbus-rtu")
def test_a_modbus_unit_answers_on_its_line(instrument: Instrument) -> None:
    until(lambda: answers_rtu(instrument), "it answers")


@pytest.mark.needs("modbus-rtu", "instrument.faults", "instrument.power")
def test_a_modbus_line_is_silent_when_told_and_comes_back(instrument: Instrument) -> None:
    misbehaves_and_is_well(instrument, answers_rtu)


@pytest.mark.needs("serial", "instrument.faults", "instrument.power")
def test_a_talking_instrument_is_silent_when_told_and_comes_back(instrument: Instrument) -> None:
    misbehaves_and_is_well(instrument, talks)


@pytest.mark.needs("ble")
async def test_an_adapter_hears_something(instrument: Instrument) -> None:
    environment = dict(os.environ)
    adapter = instrument.address
    if instrument.kind == "ble-virtual":  # a socket with an adapter behind it
        environment["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={adapter}"
        adapter = ""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCAN, adapter],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.stdout.startswith("heard "), done.stderr
