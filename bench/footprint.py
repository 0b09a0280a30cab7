"""Where the memory of an idle edgecore goes: `python -m bench.footprint`.

Fresh interpreters import what edgecore imports, each one step more than the one before; then the real process serves MQTT and
holds the link, without devices and with them. A step's figure is what it adds to the resident memory. Pages of a
library that other processes map too count in full, as they do in `ps`.
"""

import asyncio
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import psutil

from bench.site import Site, running

RUNS = 3

IMPORTS = (
    ("Python itself", ""),
    ("logging, argparse, pathlib, dataclasses", "import argparse, dataclasses, logging, pathlib"),
    ("asyncio, ssl", "import asyncio, ssl"),
    ("sqlite3", "import sqlite3"),
    ("msgspec", "import msgspec"),
    ("PyYAML", "import yaml"),
    ("importlib.metadata (websockets imports it)", "import importlib.metadata"),
    ("websockets", "import websockets.asyncio.client"),
    ("our code", "import edge_gateway.__main__, edge_gateway.broker.server, edge_gateway.edge_hub"),
)
"""What edgecore imports, in the order in which one thing brings in another."""


async def measure(devices: int = 50) -> list[tuple[str, float]]:
    """Step -> MB (MiB) that it adds; their sum is the idle edgecore. Takes about 15 s."""
    totals = [("", 0.0)]
    code = ""
    for step, more in IMPORTS:
        code += more + "\n"
        totals.append((step, _importing(code)))
    linked, holding = await _running(devices)
    totals.append(("serving: store, broker, link over TLS", linked))
    totals.append((f"{devices} devices", holding))
    return [(step, total - before) for (_, before), (step, total) in pairwise(totals)]


def _importing(code: str) -> float:
    return statistics.median(_resident_after(code) for _ in range(RUNS))


def _resident_after(code: str) -> float:
    with psutil.Popen([sys.executable, "-c", f"{code}print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        resident = _resident(process)
        process.communicate(b"\n")
    return resident


async def _running(devices: int) -> tuple[float, float]:
    """Resident MB of a real edgecore that has its link, and of one that has its devices besides, started with them."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-footprint-") as folder:
        async with running(Path(folder)) as site:
            linked = await _restarted(site)
            await site.install(devices)
            return linked, await _restarted(site)


async def _restarted(site: Site) -> float:
    """Resident MB of edgecore once it is linked again. A median: where the allocator puts things is chance."""
    found = []
    for _ in range(RUNS):
        await site.restart_edgecore()
        found.append(_resident(site.edgecore()))
    return statistics.median(found)


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def main() -> None:
    """Measure and print a table."""
    total = 0.0
    for step, added in asyncio.run(measure()):
        total += added
        print(f"{step:45}{added:+6.1f} MB{total:7.1f} MB")


if __name__ == "__main__":
    main()
