"""Conditions of made-up machines: shortages, a weak supply, heat, and a kernel without the memory cgroup."""

from pathlib import Path

import pytest

from edge_gateway.machine_conditions import LASTS_S, Conditions
from edge_gateway.tests.test_machine import PI, make

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


def statuses(root: Path, files: dict[str, str], now: float = 0.0) -> dict[str, str]:
    return {c.type: c.status for c in Conditions(make(root, files), root).read(now)}


def test_a_machine_that_is_well_says_so(tmp_path: Path) -> None:
    well = {**PI, "proc/loadavg": "0.1 0.1 0.1 1/120 9", "proc/sys/kernel/pid_max": "32768"}
    found = statuses(tmp_path, well)
    assert found == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}


def test_little_available_memory_is_pressure_and_stays_so_for_five_minutes(tmp_path: Path) -> None:
    conditions = Conditions(make(tmp_path, {"proc/meminfo": "MemAvailable: 1000 kB"}), tmp_path)
    assert conditions.read(0.0)[0][:3] == ("MemoryPressure", "True", "HasInsufficientMemory")
    make(tmp_path, {"proc/meminfo": "MemAvailable: 1000000 kB"})
    assert conditions.read(LASTS_S - 1)[0].status == "True"
    assert conditions.read(LASTS_S + 1)[0].status == "False"


def test_a_machine_that_is_full_of_processes_is_under_pressure(tmp_path: Path) -> None:
    full = {"proc/loadavg": "0.1 0.1 0.1 1/32000 9", "proc/sys/kernel/pid_max": "32768"}
    assert statuses(tmp_path, full)["PIDPressure"] == "True"


@pytest.mark.parametrize(
    ("flags", "under_voltage", "throttled"),
    [("0", "False", "False"), ("50005", "True", "True"), ("50000", "False", "False"), ("8", "False", "True")],
)
def test_the_firmware_of_a_pi_tells_of_its_supply_and_its_heat(
    tmp_path: Path, flags: str, under_voltage: str, throttled: str
) -> None:
    found = statuses(tmp_path, {THROTTLED: flags + "\n"})
    assert (found["UnderVoltage"], found["Throttled"]) == (under_voltage, throttled)


@pytest.mark.parametrize(("alarm", "status"), [("1", "True"), ("0", "False")])
def test_without_the_firmware_the_kernels_monitor_tells_of_the_supply(tmp_path: Path, alarm: str, status: str) -> None:
    monitor = {"sys/class/hwmon/hwmon0/name": "cpu_thermal", "sys/class/hwmon/hwmon1/name": "rpi_volt"}
    found = statuses(tmp_path, {**monitor, "sys/class/hwmon/hwmon1/in0_lcrit_alarm": alarm})
    assert found["UnderVoltage"] == status
    assert "Throttled" not in found


@pytest.mark.parametrize(("state", "status"), [("0", "False"), ("2", "True")])
def test_a_processor_that_is_cooled_by_its_clock_is_throttled(tmp_path: Path, state: str, status: str) -> None:
    device = "sys/class/thermal/cooling_device0/"
    found = statuses(tmp_path, {device + "type": "cpufreq-cpu0", device + "cur_state": state})
    assert found["Throttled"] == status


@pytest.mark.parametrize(
    ("file", "content", "status"),
    [
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids", "True"),
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids", "False"),
        ("proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\nmemory 0 80 0\n", "True"),
        ("proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\nmemory 4 80 1\n", "False"),
    ],
)
def test_a_kernel_that_counts_no_memory_is_told_of(tmp_path: Path, file: str, content: str, status: str) -> None:
    assert statuses(tmp_path, {file: content})["MemoryCgroupMissing"] == status
