"""`edgecore [edgecore.yaml]`: the gateway's process. This file is its map.

Broker and link are imported by the functions that build them: a gateway holds the libraries of what it uses, no others.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_gateway.broker.errors import BrokerError
from edge_gateway.config import EdgeConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.firmware_clock import FirmwareClock
from edge_gateway.local_api import LocalApiError
from edge_gateway.machine import describe
from edge_gateway.machine_conditions import Conditions
from edge_gateway.machine_watch import MachineWatch
from edge_gateway.mapper_watch import MapperWatch
from edge_gateway.meta_manager import FOR_ALL, FOR_PODS
from edge_gateway.sealing import Seal, node_key
from edge_gateway.store import Store, StoreError
from edge_gateway.store.sqlite import SqliteStore
from edge_gateway.stream_server import Source, StreamServer, Talk
from edgewire.config import ConfigError, load
from edgewire.service import Service, serve_until_signalled
from edgewire.streams import ATTACH, EXEC, FORWARD, LOGS, USAGE

if TYPE_CHECKING:
    from edge_gateway.broker.server import Broker
    from edge_gateway.edge_hub import EdgeHub
    from edge_gateway.edged.assembly import Kind
    from edge_gateway.edged.podman_garbage import PodmanGarbage
    from edge_gateway.edged.service import Edged
    from edge_gateway.external_broker import ExternalBroker
    from edge_gateway.local_api.pod_access import PodAccess
    from edge_gateway.local_api.pod_guests import PodGuests
    from edge_gateway.local_api.server import LocalServer
    from edge_gateway.mapper_process import MapperProcess

MAPPERS_USER = "hedgerow-mappers"
"""Of the built-in broker, where it has users: the mappers that edgecore runs itself."""


def main() -> int:
    """Run EdgeCore until SIGINT or SIGTERM: 0 then, 2 when the configuration cannot be used, 1 when it cannot run."""
    if sys.argv[1:2] == ["token"]:
        return _token(sys.argv[2:])
    parser = argparse.ArgumentParser(
        prog="edgecore",
        description="The gateway: broker, device twins, link to the cloud.",
        epilog="`edgecore token NAME` makes a token for the local API.",
    )
    parser.add_argument("config", type=Path, nargs="?", help="edgecore.yaml; everything in it has a default")
    try:
        config = load(parser.parse_args().config, EdgeConfig)
        logging.basicConfig(
            level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
        )
        asyncio.run(run(config))
    except (ConfigError, StoreError, BrokerError, LocalApiError) as error:
        sys.stderr.write(f"edgecore: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _token(arguments: list[str]) -> int:
    from edge_gateway.local_api import token_command

    try:
        return token_command.run(arguments)
    except ConfigError as error:
        sys.stderr.write(f"edgecore: {error}\n")
        return 2


async def run(config: EdgeConfig) -> None:
    """Build the gateway's parts and serve them."""
    store = SqliteStore(config.data_dir / "edge.db")
    password = secrets.token_urlsafe(24)  # of the mappers that it runs itself
    try:
        broker: Broker | ExternalBroker
        guests: PodGuests | None = None
        if config.broker.kind == "external":
            broker = _external_broker(config)
        else:
            guests = _guests(config)
            broker = _builtin_broker(config, store, password, guests)
        machine = describe(data_dir=config.data_dir)
        seal = kind = None
        if config.edged.runtime != "none":
            machine, seal, kind = await _with_pods(config, machine)
        kept = FOR_PODS if config.local_api is None else FOR_ALL
        core = EdgeCore(config.node, wanted=broker.wanted, machine=machine, seal=seal, kept=kept)
        events = EventBus(core, store, broker)
        events.open()
        conditions = Conditions(Path("/"), config.data_dir)
        watch = MachineWatch(core, events.perform, machine, conditions)
        services: list[Service] = [
            watch,
            broker,
            MapperWatch(core, events.perform),
            FirmwareClock(core, events.perform),
            *([_mappers(config, broker, password)] if config.mappers else []),
        ]
        sources: dict[str, Source] = {}
        talks: dict[str, Talk] = {}
        hub = _hub(config, core, events, StreamServer(sources, talks)) if config.cloud.url else None
        if hub is not None:
            events.on_dirty(hub.mark)
        api, access = _local_api(config, core, events, kind)
        if guests is not None:
            guests.access = access
        if kind is not None:
            from edge_gateway.edged.pod_attach import Attachments

            edged, garbage = _edged(config, kind, core, events, store, machine, conditions, hub, api, access)
            sources[LOGS], sources[USAGE] = edged.logs, edged.usage
            talks[EXEC], talks[ATTACH], talks[FORWARD] = edged.commands, Attachments(edged.logs), edged.forwards
            services.append(edged)
            if access is not None:
                services.append(_renewal(access, edged))
            if garbage is not None:
                watch.images = garbage.status
                services.append(garbage)
            if api is not None:
                api.logs = edged.logs
        if api is not None:
            services.append(api)
        if hub is not None:
            services.append(hub)
        await serve_until_signalled(*services)
    finally:
        await store.close()


def _guests(config: EdgeConfig) -> "PodGuests | None":
    """Pods at the broker, by their tokens for the local API."""
    if config.local_api is None or config.edged.runtime == "none":
        return None
    from edge_gateway.local_api.pod_guests import PodGuests

    return PodGuests()


def _builtin_broker(config: EdgeConfig, store: Store, password: str, guests: "PodGuests | None") -> "Broker":
    from edge_gateway.broker.passwords import hash_password
    from edge_gateway.broker.users import full_user
    from edge_gateway.builtin_broker import build

    own = full_user(MAPPERS_USER, hash_password(password)) if config.mappers else None
    broker = build(config.broker, config.data_dir, store, own, guests)
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


def _mappers(config: EdgeConfig, broker: "Broker | ExternalBroker", password: str) -> "MapperProcess":
    """The mappers of `edgecore.yaml`; with the user that is made for them, or at an external broker with edgecore's own."""
    from edge_gateway.mapper_process import MapperProcess, broker_environment, command

    settings, external = config.broker, config.broker.external

    def environment() -> dict[str, str]:
        if settings.kind == "external":
            return broker_environment(external.host, external.port, external.user, external.password)
        return broker_environment(settings.host, cast("Broker", broker).port, MAPPERS_USER, password)

    return MapperProcess(command(config.mappers, config.data_dir), environment)


async def _with_pods(config: EdgeConfig, machine: dict[str, object]) -> tuple[dict[str, object], Seal, "Kind"]:
    """What the Node says of a machine that runs pods, the seal for their Secrets, and what runs them."""
    from edge_gateway.edged.assembly import choose, node_facts

    labels = machine["labels"]
    assert isinstance(labels, dict)
    file = config.data_dir / config.edged.key
    try:
        seal = Seal(node_key(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"`edged.key` {file} cannot be used: {error}") from error
    kind = await asyncio.to_thread(choose, config)
    return {**machine, **node_facts(config, kind, labels)}, seal, kind


def _edged(
    config: EdgeConfig,
    kind: "Kind",
    core: EdgeCore,
    events: EventBus,
    store: Store,
    machine: dict[str, object],
    conditions: Conditions,
    hub: "EdgeHub | None",
    api: "LocalServer | None",
    access: "PodAccess | None",
) -> "tuple[Edged, PodmanGarbage | None]":
    from edge_gateway.edged.assembly import build

    def mark(keys: list[str]) -> None:
        if hub is not None:
            hub.mark(keys)
        if api is not None:
            api.marked(keys)

    edged, garbage = build(config, kind, core, store, machine, mark, conditions.folders, access)
    events.on_objects(edged.objects_changed)
    return edged, garbage


def _local_api(
    config: EdgeConfig, core: EdgeCore, events: EventBus, kind: "Kind | None"
) -> "tuple[LocalServer, PodAccess | None] | tuple[None, None]":
    """The local API, and its side for pods."""
    if config.local_api is None:
        return None, None
    from edge_gateway.local_api.setup import build

    api, access = build(config, config.local_api, core, events.perform, kind.name if kind is not None else None)
    events.on_durable(api.changed)
    return api, access


def _renewal(access: "PodAccess", edged: "Edged") -> Service:
    """Let Edged say which pods have tokens, and keep those young."""
    from edge_gateway.local_api.renewal import Renewal

    access.pods = lambda: [life.pod for life in edged.lives() if life.record.final is None]
    return Renewal(access.pods, access, edged.renew_access)


def _hub(config: EdgeConfig, core: EdgeCore, events: EventBus, streams: StreamServer) -> "EdgeHub":
    from edge_gateway.edge_hub import EdgeHub, Endpoint

    folder, cloud = config.data_dir, config.cloud
    endpoint = Endpoint(cloud.url.rstrip("/"), folder / cloud.ca, folder / cloud.certificate, folder / cloud.key)
    return EdgeHub(core, events.perform, endpoint, streams)


if __name__ == "__main__":
    sys.exit(main())
