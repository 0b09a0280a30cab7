"""`make bench`: measure, print the figures with the machine, and keep them in bench/results.json.

python -m bench [main_job] [broker] [firmware] [flash] [heap] [heap_32_bit] [kubernetes_api] [modbus] [ota] [pods]
                [power_cuts] [real_cluster] [serial_lines] [serial_link]
"""

import argparse
import asyncio
from pathlib import Path

from rich.console import Console

from bench import (
    broker,
    firmware,
    flash,
    heap,
    heap_32_bit,
    kubernetes_api,
    main_job,
    modbus,
    ota,
    pods,
    power_cuts,
    real_cluster,
    serial_lines,
    serial_link,
)
from bench.results import show, write

RESULTS = Path(__file__).parent / "results.json"
ALL = {
    "main_job": main_job.measure,
    "broker": broker.measure,
    "firmware": firmware.measure,
    "flash": flash.measure,
    "heap": heap.measure,
    "heap_32_bit": heap_32_bit.measure,
    "kubernetes_api": kubernetes_api.measure,
    "modbus": modbus.measure,
    "ota": ota.measure,
    "pods": pods.measure,
    "power_cuts": power_cuts.measure,
    "real_cluster": real_cluster.measure,
    "serial_lines": serial_lines.measure,
    "serial_link": serial_link.measure,
}


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this machine.")
    parser.add_argument("what", nargs="*", metavar="|".join(ALL), help="all without it")
    chosen = parser.parse_args().what or list(ALL)
    if unknown := [name for name in chosen if name not in ALL]:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(ALL)}")
    for name in chosen:
        found = asyncio.run(ALL[name]())
        show(found, Console())
        write(found, RESULTS)


if __name__ == "__main__":
    main()
