"""`edgecore [edgecore.yaml]`: the gateway's process. This file is its map.

Broker and link are imported by the functions that build them: a gateway holds the libraries of what it uses, no others.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_gateway.broker.errors import BrokerError
from edge_gateway.config import EdgeConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.firmware_clock import FirmwareClock
from edge_gateway.machine import describe
from edge_gateway.mapper_watch import MapperWatch
from edge_gateway.store import Store, StoreError
from edge_gateway.store.sqlite import SqliteStore
from edgewire.config import ConfigError, load
from edgewire.service import Service, serve_until_signalled

if TYPE_CHECKING:
    from edge_gateway.broker.server import Broker
    from edge_gateway.edge_hub import EdgeHub
    from edge_gateway.external_broker import ExternalBroker


def main() -> int:
    """Run EdgeCore until SIGINT or SIGTERM: 0 then, 2 when the configuration cannot be used, 1 when it cannot run."""
    parser = argparse.ArgumentParser(
        prog="edgecore", description="The gateway: broker, device twins, link to the cloud."
    )
    parser.add_argument("config", type=Path, nargs="?", help="edgecore.yaml; everything in it has a default")
    try:
        config = load(parser.parse_args().config, EdgeConfig)
        logging.basicConfig(
            level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
        )
        asyncio.run(run(config))
    except (ConfigError, StoreError, BrokerError) as error:
        sys.stderr.write(f"edgecore: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


async def run(config: EdgeConfig) -> None:
    """Build the gateway's parts and serve them."""
    store = SqliteStore(config.data_dir / "edge.db")
    try:
        broker: Broker | ExternalBroker
        if config.broker.kind == "external":
            broker = _external_broker(config)
        else:
            broker = _builtin_broker(config, store)
        core = EdgeCore(config.node, wanted=broker.wanted, machine=describe())
        events = EventBus(core, store, broker)
        events.open()
        services: list[Service] = [
            broker,
            MapperWatch(core, events.perform),
            FirmwareClock(core, events.perform),
        ]
        if config.cloud.url:
            hub = _hub(config, core, events)
            events.on_dirty(hub.mark)
            services.append(hub)
        await serve_until_signalled(*services)
    finally:
        await store.close()


def _builtin_broker(config: EdgeConfig, store: Store) -> "Broker":
    from edge_gateway.builtin_broker import build

    broker = build(config.broker, config.data_dir, store)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, broker.reload)
    return broker


def _external_broker(config: EdgeConfig) -> "ExternalBroker":
    from edge_gateway.external_broker import ExternalBroker

    settings = config.broker.external
    return ExternalBroker(
        settings.host,
        settings.port,
        client_id=f"edgecore-{config.node}",
        user=settings.user,
        password=settings.password,
    )


def _hub(config: EdgeConfig, core: EdgeCore, events: EventBus) -> "EdgeHub":
    from edge_gateway.edge_hub import EdgeHub, Endpoint

    folder, cloud = config.data_dir, config.cloud
    endpoint = Endpoint(cloud.url.rstrip("/"), folder / cloud.ca, folder / cloud.certificate, folder / cloud.key)
    return EdgeHub(core, events.perform, endpoint)


if __name__ == "__main__":
    sys.exit(main())
