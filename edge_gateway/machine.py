"""What the Node object says of the machine this gateway runs on: read from /proc, /sys and /etc, or from copies of them.

Facts are those that stay while the machine is up; what changes is in `machine_conditions`.
"""

import os
import platform
import re
import socket
from pathlib import Path

from edge_gateway.kernel_files import text
from edgewire import __version__

BOARD_LABEL = "hedgerow.dev/board"
"""The board's own name of its model, as a label can have it."""
RESERVED_MEMORY = 100 * 1024 * 1024
"""Bytes of memory that pods cannot ask for: kubelet's default threshold of eviction."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def describe(root: Path = Path("/"), data_dir: Path = Path(".")) -> dict[str, object]:
    """Host name, architecture in Kubernetes' words, operating system, processors, memory and disk in bytes, addresses, labels.

    `root` is where /proc, /sys and /etc are; the disk is that of `data_dir`, or of its nearest parent that exists.
    """
    return {
        "hostname": socket.gethostname(),
        "arch": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": platform.system().lower(),
        "kernel": platform.release(),
        "os_image": _os_image(root),
        "edgecore_version": __version__,
        "machine_id": text(root / "etc/machine-id"),
        "boot_id": text(root / "proc/sys/kernel/random/boot_id"),
        "system_uuid": text(root / "sys/class/dmi/id/product_uuid") or text(root / "proc/device-tree/serial-number"),
        "cpus": os.cpu_count() or 1,
        "memory_bytes": _memory(root),
        "reserved_memory_bytes": RESERVED_MEMORY,
        "storage_bytes": _disk(data_dir),
        "addresses": addresses(root),
        "labels": _labels(root),
    }


def addresses(root: Path = Path("/")) -> list[str]:
    """This machine's addresses on its networks, loopback left out, the one by which it reaches others first.

    From the kernel's own tables: no packet is sent.
    """
    found: list[str] = _outward() if root == Path("/") else []
    previous = ""
    for line in text(root / "proc/net/fib_trie").splitlines():
        candidate = line.strip().removeprefix("|-- ")
        if "host LOCAL" in line and previous not in found and not previous.startswith("127."):
            found.append(previous)
        previous = candidate
    return found


def _outward() -> list[str]:
    """The address that packets to the rest of the world would come from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nobody's (RFC 5737); connecting a datagram socket only asks for the route
        except OSError:
            return []
        address = probe.getsockname()[0]
    return [] if address.startswith("127.") else [address]


def _os_image(root: Path) -> str:
    for file in ("etc/os-release", "usr/lib/os-release"):
        for line in text(root / file).splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.removeprefix("PRETTY_NAME=").strip("\"'")
    return platform.platform()


def _memory(root: Path) -> int:
    """Bytes of memory; a Pi keeps some of what is soldered on for its graphics."""
    for line in text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _disk(folder: Path) -> int:
    """Bytes of the file system of a folder."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize


def _labels(root: Path) -> dict[str, str]:
    """What the board is: its device tree says so, where it has one, as a Pi has."""
    model = text(root / "proc/device-tree/model")
    label = re.sub(r"[^a-z0-9.]+", "-", model.lower())[:63].strip("-.")
    return {BOARD_LABEL: label} if label else {}
