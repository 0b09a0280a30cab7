"""`hedgerow mapper`: a new driver whose test passes, and devices read from their YAML, through the real command."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from hil_tests.bench import demo
from hil_tests.bench.plc import Plc
from mappers.skeleton.test_driver import Device

ROOT = Path(__file__).parents[2]


async def hedgerow(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Status, output and complaints of the command."""
    return await run(folder, sys.executable, "-m", "hedgerow", *arguments)


async def run(folder: Path, *command: str) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(45):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode or 0, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def plc() -> AsyncIterator[Plc]:
    emulated = Plc(moving=False)
    await emulated.start()
    try:
        yield emulated
    finally:
        await emulated.stop()


def written(folder: Path, text: str) -> str:
    (folder / "device.yaml").write_text(text)
    return "device.yaml"


async def test_a_new_driver_passes_its_test_and_reads_its_device(tmp_path: Path) -> None:
    status, out, _ = await hedgerow(tmp_path, "mapper", "new", "acme_box")
    assert status == 0
    assert "Test it: python -m pytest acme_box" in out
    package = tmp_path / "acme_box"
    assert {path.name for path in package.iterdir()} == {"__init__.py", "driver.py", "test_driver.py", "device.yaml"}
    assert "skeleton" not in "".join(path.read_text().lower() for path in package.iterdir())
    status, out, _ = await run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "acme_box")
    assert status == 0, out
    assert "6 passed" in out

    server = await asyncio.start_server(Device().serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        manifest = package / "device.yaml"
        manifest.write_text(manifest.read_text().replace("port: 7000", f"port: {port}"))
        arguments = ("mapper", "read", "acme_box/device.yaml", "--driver", "acme_box.driver:AcmeBox")
        status, out, err = await hedgerow(tmp_path, *arguments)
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["DEVICE", "PROPERTY", "RAW", "VALUE", "UNIT", "ERROR"],
        ["default/acme-box-1", "temperature", "215", "21.5", "°C"],
        ["setpoint", "21.5", "21.5", "°C"],
        ["mode", "1", "heating"],
    ]


@pytest.mark.parametrize("name", ["Acme", "1st", "a-b", "../x", ""])
async def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    status, _, err = await hedgerow(tmp_path, "mapper", "new", name)
    assert (status, "is no name for a package" in err) == (2, True)
    assert os.listdir(tmp_path) == []


async def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    status, _, err = await hedgerow(tmp_path, "mapper", "new", "acme")
    assert (status, err) == (1, "hedgerow: cannot write acme: File exists\n")


async def test_a_modbus_device_is_read_with_no_cloud_and_no_broker(tmp_path: Path) -> None:
    async with plc() as emulated:
        file = written(tmp_path, yaml.safe_dump_all(demo.plc_manifests("edge-1", emulated.port)))
        status, out, err = await hedgerow(tmp_path, "mapper", "read", file, "--count", "2", "--interval", "0")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines.count(["default/boiler", "temperature", "180", "18.0", "°C"]) == 2
    assert lines.count(["energy", "123456", "123456", "Wh"]) == 2
    assert lines.count(["alarm", "False", "false"]) == 2


async def test_what_fails_is_in_the_table_and_in_the_status(tmp_path: Path) -> None:
    async with plc() as emulated:
        emulated.faults[2].silent = True
        manifests = demo.plc_manifests("edge-1", emulated.port)
        for manifest in manifests:
            if manifest["kind"] == "Device":
                manifest["spec"]["protocol"]["configData"]["timeout"] = 200
        status, out, err = await hedgerow(tmp_path, "mapper", "read", written(tmp_path, yaml.safe_dump_all(manifests)))
    assert (status, err) == (1, "")
    boiler, meter = out.split("default/meter")
    assert "18.0" in boiler
    assert "did not answer" not in boiler
    assert meter.count("did not answer within 200 ms") == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is not valid YAML"),
        ("{}", "there is no Device in it"),
        ("- 1", "there is no Device in it"),
        ("{kind: Device, metadata: {name: a}}", "Device default/a: its DeviceModel default/ is not in it"),
        (
            "{kind: DeviceModel, metadata: {name: m}}\n---\n"
            "{kind: Device, metadata: {name: a}, spec: {deviceModelRef: {name: m}, protocol: {protocolName: modbsu}}}",
            "Device spec.protocol.protocolName 'modbsu' has no driver: did you mean 'modbus'?",
        ),
        (
            "{kind: DeviceModel, metadata: {name: m}}\n---\n"
            "{kind: Device, metadata: {name: a}, spec: {deviceModelRef: {name: m}, "
            "protocol: {protocolName: modbus, configData: {ipp: 1.2.3.4}}}}",
            "unknown key `ipp` in Device spec.protocol.configData: did you mean `ip`?",
        ),
    ],
)
async def test_a_mistake_in_the_file_is_said_in_a_line(tmp_path: Path, text: str, complaint: str) -> None:
    status, _, err = await hedgerow(tmp_path, "mapper", "read", written(tmp_path, text))
    assert (status, err.count("\n")) == (1, 1)
    assert complaint in err


async def test_a_driver_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    async with plc() as emulated:
        file = written(tmp_path, yaml.safe_dump_all(demo.plc_manifests("edge-1", emulated.port)))
    for driver, complaint in (("acme", "is not package.module:Class"), ("acme:Acme", "No module named 'acme'")):
        status, _, err = await hedgerow(tmp_path, "mapper", "read", file, "--driver", driver)
        assert (status, err.count("\n"), complaint in err) == (1, 1, True)
