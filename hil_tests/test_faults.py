"""Instruments that misbehave while they run: a driver never makes a value of it, and reads on when they are well again."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgewire.device import ModelProperty
from hil_tests.bench.faults import Fault
from hil_tests.bench.plc import Plc
from mappers.driver import BadAnswer, DriverError, NoAnswer, Refused, Value
from mappers.modbus import Modbus, ModbusDriver
from mappers.modbus_address import Address
from mappers.modbus_registers import HOLDING, Visitor, VisitorConfig

DEADLINE_S = 15.0
ROOT = Path(__file__).parent.parent


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    plc = Plc(moving=False)
    await plc.start()
    try:
        yield plc
    finally:
        await plc.stop()


@contextlib.asynccontextmanager
async def reading(plc: Plc) -> AsyncIterator[tuple[ModbusDriver, Visitor]]:
    unit = Address(ip="127.0.0.1", port=plc.port, slave_id=2, timeout=150)
    tariff = Modbus().visitor(unit, VisitorConfig(register=HOLDING, offset=0), ModelProperty("tariff", type="INT"))
    driver = Modbus().driver(unit.bus)
    try:
        yield driver, tariff
    finally:
        await driver.close()


async def found(driver: ModbusDriver, visitor: Visitor) -> Value | DriverError:
    try:
        return (await driver.read([visitor]))[0]
    except DriverError as error:
        return error


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(silent=True), NoAnswer),
        (Fault(delay_s=2.0), NoAnswer),
        (Fault(refuses={3: 2}), Refused),
        (Fault(wrong_unit=True), BadAnswer),
        (Fault(disconnects=True), NoAnswer),
        (Fault(short=True), (NoAnswer, BadAnswer)),  # the header promised more, and then there is too much
        (Fault(garbled=True), BadAnswer),
        (Fault(noise=True), BadAnswer),
    ],
    ids=lambda case: (
        " ".join(f for f in Fault.__struct_fields__ if getattr(case, f, None)) if isinstance(case, Fault) else ""
    ),
)
async def test_a_plc_that_misbehaves_gives_no_value_and_then_the_right_one(
    plc: Plc, fault: Fault, error: type[DriverError] | tuple[type[DriverError], ...]
) -> None:
    async with reading(plc) as (driver, tariff):
        assert await found(driver, tariff) == 1
        plc.faults[2] = fault
        for _ in range(3):
            assert isinstance(await found(driver, tariff), error)
        plc.faults[2] = Fault()
        async with asyncio.timeout(DEADLINE_S):
            while (value := await found(driver, tariff)) != 1:
                assert isinstance(value, DriverError)


def read_meters(manifests: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hedgerow", "mapper", "read", str(manifests)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


@contextlib.contextmanager
def instrument(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(DEADLINE_S)
        assert process.stderr is not None
        assert (code, "Traceback" in process.stderr.read()) == (0, False)


def test_the_meters_on_a_line_are_read_by_their_manifests_and_misbehave_as_a_file_says(tmp_path: Path) -> None:
    link, faults, manifests = tmp_path / "meter", tmp_path / "faults.json", tmp_path / "meters.yaml"
    text = (ROOT / "hil_tests" / "bench" / "rtu_meter.yaml").read_text()
    text = text.replace("/tmp/meter", str(link)).replace("baudRate: 9600", "baudRate: 38400, timeout: 300")
    manifests.write_text(text)
    options = ("--link", str(link), "--baud", "38400", "--faults-file", str(faults))
    with instrument("hil_tests.bench.rtu_meter", *options) as process:
        until = time.monotonic() + DEADLINE_S
        while not link.exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.01)
        well = read_meters(manifests)
        assert well.returncode == 0, well.stdout + well.stderr
        assert "default/meter-2" in well.stdout
        assert "2100" in well.stdout
        faults.write_text(json.dumps({"meter-2": {"silent": True}}))
        while (one := read_meters(manifests)).returncode == 0:  # the file is looked at five times a second
            assert time.monotonic() < until
        assert "1100" in one.stdout
        assert "unit 2 did not answer within 300 ms" in " ".join(one.stdout.split())
