"""A thousand power cuts at random steps of updates over the air, on emulated boards with a LittleFS each."""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.results import Figure, Figures
from hil_tests.bench.power_cuts import PowerCuts, Tally

CUTS = 1000


async def measure() -> Figures:
    """What became of the boards. Takes about six minutes."""
    return await asyncio.to_thread(power_cuts, CUTS)


def power_cuts(cuts: int) -> Figures:
    """Cut the power of boards that are being updated, one on every core."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(cores) as pool:
        shares = [cuts // cores + (core < cuts % cores) for core in range(cores)]
        tallies = list(pool.map(_cut, [Path(folder, str(core)) for core in range(cores)], range(cores), shares))
    ended: dict[str, int] = {}
    for tally in tallies:
        for how, times in tally.ended.items():
            ended[how] = ended.get(how, 0) + times
    lost = sum(times for how, times in ended.items() if not how.endswith(("confirmed none", "reverted not-confirmed")))
    count, starts = sum(tally.cuts for tally in tallies), sum(tally.starts for tally in tallies)
    told = "; ".join(f"{how}: {times}" for how, times in sorted(ended.items()))
    untrue = sum(len(tally.untrue) for tally in tallies)
    return {
        "power_cuts_boards_lost": Figure(lost, "boards", {"aim": 0}, f"{count} cuts at random steps; {told}"),
        "power_cuts_untrue_images_run": Figure(untrue, "starts", {"aim": 0}, f"of {starts}: unsigned or half written"),
    }


def _cut(folder: Path, seed: int, cuts: int) -> Tally:
    bench = PowerCuts(folder, seed)
    try:
        bench.prepare()
        return bench.run(cuts)
    finally:
        bench.close()
