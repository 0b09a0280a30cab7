"""The built-in broker as a process of its own: python -m edge_gateway.broker.tests.process STORE PORT [USERS]."""

import asyncio
import logging
import sys
from pathlib import Path

from edge_gateway.broker.server import Broker
from edge_gateway.broker.users import load_users
from edge_gateway.store.sqlite import SqliteStore
from edgewire.service import serve_until_signalled


async def main(store_path: str, port: str, users_path: str | None = None) -> None:
    store = SqliteStore(Path(store_path))
    users = load_users(Path(users_path)) if users_path else None
    try:
        await serve_until_signalled(Broker(store, port=int(port), users=users))
    finally:
        await store.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(main(*sys.argv[1:]))
