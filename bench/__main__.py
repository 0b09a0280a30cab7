"""`make bench`: measure, print the figures with the machine, and keep them in bench/results.json."""

import asyncio
from pathlib import Path

from rich.console import Console

from bench import main_job
from bench.results import show, write

RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Run every benchmark."""
    found = asyncio.run(main_job.measure())
    show(found, Console())
    write(found, RESULTS)


if __name__ == "__main__":
    main()
