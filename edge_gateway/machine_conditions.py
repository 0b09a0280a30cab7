"""How the machine is: conditions of the Node object, read from /proc and /sys, or from copies of them.

`MemoryPressure`, `DiskPressure` and `PIDPressure` follow kubelet's thresholds, and last for five minutes after the shortage is
over, as kubelet's do, so that pods do not come and go with it. A board with a supply and a temperature to speak of, such as a
Raspberry Pi, has `UnderVoltage` and `Throttled` too; every Linux machine has `MemoryCgroupMissing`, which is True where the
kernel does not count the memory of a group of processes, so that no limit can be kept.

Sources: the firmware's `get_throttled` (Raspberry Pi documentation, "vcgencmd get_throttled": bit 0 under-voltage, bits 1 to 3
limited frequency, throttled, soft temperature limit), the kernel's `raspberrypi-hwmon` (`in0_lcrit_alarm`), and the
cooling devices of its thermal zones.
"""

import os
from pathlib import Path
from typing import NamedTuple

from edge_gateway.kernel_files import text

MEMORY_BYTES = 100 * 1024 * 1024
"""Less available memory than that is a shortage (kubelet: memory.available<100Mi)."""
DISK_PART, INODES_PART = 0.10, 0.05
"""Less free space, or inodes, than this part of the file system is a shortage (kubelet: nodefs.available, nodefs.inodesFree)."""
PIDS_PART = 0.05
LASTS_S = 300.0
"""How long a pressure is told after it is over (kubelet's eviction-pressure-transition-period)."""

_UNDER_VOLTAGE, _THROTTLED = 0b0001, 0b1110


class Condition(NamedTuple):
    """One condition, in the words of a Node object; the message stays the same while the status does."""

    type: str
    status: str
    reason: str
    message: str


class Conditions:
    """The conditions of one machine."""

    def __init__(self, root: Path, data_dir: Path) -> None:
        """`root` is where /proc and /sys are; `data_dir` is on the disk that counts."""
        self._root = root
        self.folders = [data_dir]
        """On the disks that count."""
        self._short_at: dict[str, float] = {}

    def read(self, now: float) -> list[Condition]:
        """The conditions now; `now` is any monotonic clock's, in seconds."""
        memory, pids, disk = (
            _short_of_memory(self._root),
            _short_of_pids(self._root),
            any(map(short_of_disk, self.folders)),
        )
        return [
            self._pressure("MemoryPressure", memory, "HasInsufficientMemory", "HasSufficientMemory", "memory", now),
            self._pressure("DiskPressure", disk, "HasDiskPressure", "HasNoDiskPressure", "disk space", now),
            self._pressure("PIDPressure", pids, "HasInsufficientPID", "HasSufficientPID", "process ids", now),
            *_board(self._root),
            *_memory_cgroup(self._root),
        ]

    def _pressure(self, type: str, short: bool, bad: str, good: str, what: str, now: float) -> Condition:
        if short:
            self._short_at[type] = now
        at = self._short_at.get(type)
        if at is not None and now - at < LASTS_S:
            return Condition(type, "True", bad, f"the machine is short of {what}")
        return Condition(type, "False", good, f"the machine has enough {what}")


def _short_of_memory(root: Path) -> bool:
    for line in text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 < MEMORY_BYTES
    return False


def _short_of_pids(root: Path) -> bool:
    """The fourth field of /proc/loadavg is `running/existing`."""
    fields, limit = text(root / "proc/loadavg").split(), text(root / "proc/sys/kernel/pid_max")
    if len(fields) < 4 or not limit.isdigit():
        return False
    existing = fields[3].partition("/")[2]
    return existing.isdigit() and int(limit) - int(existing) < int(limit) * PIDS_PART


def short_of_disk(folder: Path) -> bool:
    """Whether less is free on a folder's disk than shall be."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    if found.f_bavail < found.f_blocks * DISK_PART:
        return True
    return found.f_files > 0 and found.f_favail < found.f_files * INODES_PART


def _board(root: Path) -> list[Condition]:
    """Supply and temperature, as far as anything says something of them."""
    flags = _firmware_flags(root)
    under_voltage = bool(flags & _UNDER_VOLTAGE) if flags is not None else _alarm(root)
    throttled = bool(flags & _THROTTLED) if flags is not None else _cooling(root)
    found = []
    if under_voltage is not None:
        found.append(
            Condition("UnderVoltage", "True", "SupplyTooLow", "the supply is below 4.63 V: use a better one")
            if under_voltage
            else Condition("UnderVoltage", "False", "SupplyIsWell", "the supply is well")
        )
    if throttled is not None:
        found.append(
            Condition("Throttled", "True", "ClockReduced", "the processor is slowed down, for its heat or its supply")
            if throttled
            else Condition("Throttled", "False", "FullSpeed", "the processor may run at full speed")
        )
    return found


def _firmware_flags(root: Path) -> int | None:
    for file in sorted(root.glob("sys/devices/platform/soc*/soc*:firmware/get_throttled")):
        try:
            return int(text(file), 16)
        except ValueError:
            continue
    return None


def _alarm(root: Path) -> bool | None:
    for monitor in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if text(monitor / "name") == "rpi_volt":
            return text(monitor / "in0_lcrit_alarm") == "1"
    return None


def _cooling(root: Path) -> bool | None:
    """Whether a processor is slowed down for its heat; None where no thermal zone can do that."""
    found = None
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        if text(device / "type").startswith(("cpufreq", "cpu", "thermal-cpufreq")):
            found = bool(found) or text(device / "cur_state") not in ("", "0")
    return found


def _memory_cgroup(root: Path) -> list[Condition]:
    controllers = root / "sys/fs/cgroup/cgroup.controllers"
    if controllers.exists():
        missing = "memory" not in text(controllers).split()
    elif (root / "proc/cgroups").exists():
        rows = [line.split() for line in text(root / "proc/cgroups").splitlines()]
        missing = not any(row[0] == "memory" and row[-1] == "1" for row in rows if row)
    else:
        return []
    if missing:
        why = "limits of memory are not kept: add cgroup_enable=memory to the kernel's command line"
        return [Condition("MemoryCgroupMissing", "True", "KernelHasItOff", why)]
    return [Condition("MemoryCgroupMissing", "False", "KernelHasIt", "limits of memory can be kept")]
