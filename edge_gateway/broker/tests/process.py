"""The built-in broker as a process of its own: python -m edge_gateway.broker.tests.process FOLDER, with `edgecore.yaml` in it."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from edge_gateway.builtin_broker import build
from edge_gateway.config import EdgeConfig
from edge_gateway.store.sqlite import SqliteStore
from edgewire.config import load
from edgewire.service import serve_until_signalled


async def main(folder: Path) -> None:
    store = SqliteStore(folder / "db")
    broker = build(load(folder / "edgecore.yaml", EdgeConfig).broker, folder, store)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, broker.reload)
    try:
        await serve_until_signalled(broker)
    finally:
        await store.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(main(Path(sys.argv[1])))
