"""`hedgerow bench`: every instrument read through its ready-made Device, its faults seen, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from hedgerow.cluster import Cluster
from hedgerow.instruments import BOARDS, KINDS, WELL, set_fault
from hedgerow.stack import Ports, Stack
from hedgerow.tests.running import COMMAND, RUNNING, Up, started, started_in_terminal
from hil_tests.conftest import missing


def hedgerow(*arguments: str | Path, **environment: str) -> tuple[int, str]:
    """Status of the command, and all that it said."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def read(data: Path, instrument: str, wait_s: float = 10) -> tuple[int, str]:
    """`wait_s` is how long one that speaks unasked may take; it ends as soon as all is heard."""
    if KINDS[instrument].missing:
        missing(KINDS[instrument].missing)
    return hedgerow("mapper", "read", "--wait", str(wait_s), data / "bench" / f"{instrument}.yaml", **radio(data))


def radio(data: Path) -> dict[str, str]:
    """What leads to the bench's Bluetooth."""
    return {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={data}/bench/bluetooth"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a bench with every instrument."""
    folder = tmp_path_factory.mktemp("bench")
    with started("bench", "up", "--data", folder) as running:
        running.wait_for(RUNNING)
        yield folder


READINGS = {
    "plc": r"default/boiler +temperature +-?\d+ +-?\d+\.\d +°C(?s:.*)default/meter +power +\d+\.\d+",
    "meter": r"default/meter-1 +voltage +2\d\d\.\d+(?s:.*)default/meter-2 +voltage +2\d\d\.\d+",
    "scale": r"default/scale +weight +-?\d+\.\d\d +-?\d+\.\d\d +kg(?s:.*)serial-number +WS-4711(?s:.*)tare +\(only written\)",
    "receiver": r"default/receiver +latitude +48\.1173\d+ +48\.1173\d+ +°(?s:.*)satellites +8",
    "bluetooth": r"default/thermometer +temperature +\d\d[.\d]* +\d\d[.\d]* +°C(?s:.*)default/beacon(?s:.*)humidity +50\.0",
}


@pytest.mark.parametrize("instrument", KINDS)
def test_every_instrument_is_read_by_its_ready_made_device(data: Path, instrument: str) -> None:
    status, said = read(data, instrument)
    assert status == 0, said
    assert re.search(READINGS[instrument], said), said


@pytest.mark.parametrize(
    ("instrument", "fault", "seen"),
    [
        ("plc", "busy", "busy"),
        ("meter", "garbage", "no valid answer"),
        ("scale", "silence", "did not answer"),
        ("scale", "unplug", "unplugged, or named otherwise"),
        ("bluetooth", "unplug", "was not seen"),
        ("receiver", "garbage", "nothing was heard"),
    ],
)
def test_a_mapper_sees_a_fault_until_it_is_taken_away(data: Path, instrument: str, fault: str, seen: str) -> None:
    if KINDS[instrument].missing:
        missing(KINDS[instrument].missing)
    assert hedgerow("bench", "fault", instrument, fault, "--data", data) == (0, f"{instrument}: {fault}\n")
    try:
        status, said = read(data, instrument, wait_s=1)
        assert status == 1
        assert re.search(seen, " ".join(said.split())), said
    finally:
        assert hedgerow("bench", "fault", instrument, "none", "--data", data) == (0, f"{instrument}: well\n")
    status, said = read(data, instrument)
    assert status == 0, said


def test_every_fault_that_is_offered_is_one_that_its_instrument_understands(data: Path) -> None:
    for name, kind in ((name, kind) for name, kind in KINDS.items() if not kind.missing):
        log = data / "bench" / "logs" / f"{name}.log"
        for fault in kind.faults:
            before = log.read_text().count("= faults")
            set_fault(data / "bench", name, fault)
            _until_said(log, before)
        set_fault(data / "bench", name, WELL)
        assert "not understood" not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("fault", "scael", "silence"), "no instrument 'scael': did you mean 'scale'?"),
        (("fault", "scale", "silense"), "no fault of scale 'silense': did you mean 'silence'?"),
        (("up", "toaster"), "no instrument 'toaster': there are plc, meter, scale, receiver, bluetooth, board"),
    ],
)
def test_a_name_that_there_is_not_is_refused_with_those_there_are(
    tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    assert hedgerow("bench", *arguments, "--data", tmp_path) == (2, f"hedgerow: {why}\n")


def test_no_fault_without_the_instrument(tmp_path: Path) -> None:
    status, said = hedgerow("bench", "fault", "scale", "silence", "--data", tmp_path)
    assert status == 1
    assert f"no scale runs in {tmp_path}" in said


def test_a_second_bench_in_the_folder_is_refused(data: Path) -> None:
    status, said = hedgerow("bench", "up", "--data", data)
    assert status == 1
    assert "another `hedgerow bench up`" in said


def test_it_ends_in_order_and_leaves_only_devices_and_logs(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    with started("bench", "up", "scale", "meter", "--data", tmp_path) as running:
        running.wait_for(RUNNING)
        assert len(running.meet_family()) == 2
        assert (bench / "scale").is_symlink()
        assert not (bench / "plc.yaml").exists()
        set_fault(bench, "scale", "silence")
        os.kill(running.process.pid, signal.SIGTERM)
        _ended_well(running)
    assert sorted(path.name for path in bench.iterdir()) == ["lock", "logs", "meter.yaml", "scale.yaml"]
    with started("bench", "up", "scale", "--data", tmp_path) as running:
        running.wait_for(RUNNING)
        assert not (bench / "meter.yaml").exists()
        assert read(tmp_path, "scale")[0] == 0, "the fault of the earlier run is gone"


@pytest.mark.parametrize("name", ["scale", "bluetooth"])
def test_an_instrument_that_dies_comes_back_under_its_name(tmp_path: Path, name: str) -> None:
    if KINDS[name].missing:
        missing(KINDS[name].missing)
    with started("bench", "up", name, "--data", tmp_path) as running:
        running.wait_for(RUNNING)
        family = running.meet_family()
        running.child(KINDS[name].module).kill()
        assert psutil.wait_procs(family, 5)[1] == []
        running.wait_for(f"process ended name={name}")
        until = time.monotonic() + 15
        while (found := read(tmp_path, name))[0]:
            assert time.monotonic() < until, found


def test_a_killed_mapper_does_not_keep_the_thermometer(data: Path) -> None:
    status, said = read(data, "bluetooth")
    assert status == 0, said
    command = [*COMMAND, "mapper", "read", "--count", "100", str(data / "bench" / "bluetooth.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **radio(data)}) as mapper:
        try:
            assert mapper.stdout is not None
            battery = next(line for line in mapper.stdout if "battery" in line)
        finally:
            mapper.kill()
    assert battery.split()[1] == "87"  # it was connected, and lingered
    status, said = read(data, "bluetooth")
    assert status == 0, said


def test_the_live_table_shows_a_fault_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with started_in_terminal("bench", "up", "receiver", "--data", tmp_path, columns=150) as running:
        running.wait_for(RUNNING)
        assert re.search(r"receiver +running +none +silence garbage bit-errors unplug", running.plain)
        running.meet_family()
        set_fault(tmp_path / "bench", "receiver", "unplug")
        running.wait_for("\x1b[33munplug")
        running.press_ctrl_c()
        _ended_well(running)


async def test_its_devices_are_devices_of_the_stack(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio(data)["DBUS_SYSTEM_BUS_ADDRESS"])
    stack = Stack(tmp_path, ports=Ports.any())
    try:
        await stack.start()
        async with Cluster(stack.kubeconfig) as cluster:
            for file in sorted((data / "bench").glob("*.yaml")):
                await cluster.apply(list(yaml.safe_load_all(file.read_text())))
            await cluster.wait_reported("default/scale", "serial-number", "WS-4711", 30)
            await cluster.wait_reported("default/receiver", "satellites", "8", 30)
            await cluster.wait_reported("default/meter-2", "tariff", "2100", 30)
            await cluster.wait_reported("default/boiler", "setpoint", "60.0", 30)
            if not KINDS["bluetooth"].missing:
                await cluster.wait_reported("default/thermometer", "battery", "87", 30)
                await cluster.wait_reported("default/beacon", "humidity", "50.0", 30)
    finally:
        await stack.stop()


def _ended_well(running: Up) -> None:
    assert running.ended() == 0, running.said
    assert "Traceback" not in running.said
    assert running.left_behind() == []


def _until_said(log: Path, before: int) -> None:
    until = time.monotonic() + 5
    while log.read_text().count("= faults") == before:
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)


def test_an_emulated_board_has_a_port_a_console_and_faults(tmp_path: Path) -> None:
    if BOARDS["board"].missing:
        missing(BOARDS["board"].missing)
    bench = tmp_path / "bench"
    with started("bench", "up", "board", "--data", tmp_path) as running:
        running.wait_for(RUNNING)
        assert f"mpremote connect {bench / 'board'}" in running.plain
        assert board_says(bench, "print(6 * 7)") == "42"
        assert hedgerow("bench", "fault", "board", "power-off", "--data", tmp_path) == (0, "board: power-off\n")
        console = bench / "board.d" / "console.log"
        until = time.monotonic() + 10
        while "=== power off ===" not in console.read_text(errors="replace"):
            assert time.monotonic() < until, "it has power"
            time.sleep(0.02)
        assert hedgerow("bench", "fault", "board", "none", "--data", tmp_path) == (0, "board: well\n")
        assert board_says(bench, "print(7 * 8)") == "56"
        os.kill(running.process.pid, signal.SIGTERM)
        _ended_well(running)
    assert not (bench / "board").exists()


def board_says(bench: Path, code: str) -> str:
    command = [sys.executable, "-m", "mpremote", "connect", str(bench / "board"), "exec", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def test_the_kinds_are_listed_with_what_this_machine_lacks() -> None:
    status, said = hedgerow("bench", "list", COLUMNS="40")
    assert status == 0
    for kind in ("micropython-unix", "esp-rom", "uf2-drive", "modbus-tcp", "ble-virtual", "micropython-serial"):
        assert re.search(rf"^{kind} .*(yes|needs .*\((pip|apt) install )", said, re.MULTILINE), said
    assert "default.yaml" in said
    status, said = hedgerow("bench", "list", "--bench", "nowhere.yaml")
    assert status == 2
    assert "nowhere.yaml" in said


@pytest.mark.timeout(150)
def test_the_tests_of_hardware_run_and_leave_a_report(tmp_path: Path) -> None:
    status, said = hedgerow("bench", "test", "-k", "loses_its_power_starts", "--report", tmp_path / "kept")
    assert status == 0, said
    assert "1 passed" in said
    assert said.endswith(f"report: {tmp_path}/kept/index.html\n")
    assert "1 passed" in (tmp_path / "kept" / "index.html").read_text()
