"""What the Node object says of the machine this gateway runs on, read once at the start."""

import os
import platform
import socket
from pathlib import Path

from edgewire import __version__


def describe() -> dict[str, object]:
    """Host name, architecture in Kubernetes' words, operating system, processors, memory in bytes, addresses."""
    return {
        "hostname": socket.gethostname(),
        "arch": {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine()),
        "os": platform.system().lower(),
        "kernel": platform.release(),
        "os_image": _os_image(),
        "edgecore_version": __version__,
        "cpus": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "addresses": _addresses(),
    }


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.platform()


def _addresses() -> list[str]:
    """This machine's addresses on its networks, loopback left out; the kernel's own table, no packet is sent."""
    found: list[str] = []
    previous = ""
    for line in Path("/proc/net/fib_trie").read_text().splitlines() if Path("/proc/net/fib_trie").exists() else []:
        candidate = line.strip().removeprefix("|-- ")
        if "host LOCAL" in line and previous not in found and not previous.startswith("127."):
            found.append(previous)
        previous = candidate
    return found
