"""The embedded Kubernetes API as a service: opens its data, listens, writes the kubeconfig, and stops in order."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from cloud.apiserver import credentials, identity, roles
from cloud.apiserver.access import Access
from cloud.apiserver.collector import Collector
from cloud.apiserver.controllers import Controller, Controllers
from cloud.apiserver.credentials import Credentials
from cloud.apiserver.daemon_sets import DaemonSets
from cloud.apiserver.deployments import Deployments
from cloud.apiserver.evictions import Evictor
from cloud.apiserver.expiry import Expiry
from cloud.apiserver.handler import Handler
from cloud.apiserver.kubelets import Kubelets
from cloud.apiserver.listing import Lister
from cloud.apiserver.metrics_source import MetricsSource
from cloud.apiserver.node_lifecycle import NodeLifecycle
from cloud.apiserver.objects import Objects
from cloud.apiserver.replica_sets import ReplicaSets
from cloud.apiserver.requests import BODY_LIMIT
from cloud.apiserver.scheduler import Scheduler
from cloud.apiserver.schema_files import SchemaFiles
from cloud.apiserver.storage import Storage
from cloud.apiserver.streams import BOOKMARK_S, Streams
from cloud.apiserver.workload_controller import WorkloadController
from cloud.apiserver.writes import WriteOptions

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Namespaces that are always there."""
KEEPALIVE_S = 3600.0
"""Idle connections are kept longer than any client keeps them, so that none is closed under a request."""
BACKLOG = 1024
"""Connections that wait to be accepted; a restart brings all clients at once."""
STOP_S = 1.0
"""Seconds that requests under way get to finish when the server stops."""


class ApiServer:
    """Serves the Kubernetes API from one data folder."""

    name = "apiserver"

    def __init__(
        self,
        data: Path,
        host: str = "127.0.0.1",
        port: int = 6443,
        hosts: Sequence[str] = (),
        bookmark_s: float = BOOKMARK_S,
        client_ca: Path | None = None,
    ) -> None:
        """`hosts` are further names and addresses for the certificate; port 0 takes a free one; clients' certificates may
        come from `client_ca` beside the server's own CA.

        `bookmark_s` is the time between the bookmarks of a watch that asked for them.
        """
        self._data = data
        self._host = host
        self._port = port
        self._hosts = (*hosts, host) if host not in ("", "0.0.0.0", "::") else tuple(hosts)
        self.kubeconfig = data / "kubeconfig"
        """Written once the server listens; taken away when it starts, so that its presence means it is there."""
        self._bookmark_s = bookmark_s
        self._client_ca = client_ca
        self.objects = Objects()
        self.url = ""
        """https://…, once it listens."""

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Raises ApiError when the data folder cannot be used, OSError when the port cannot."""
        objects = self.objects
        objects.later = asyncio.get_running_loop().call_soon
        storage = Storage(self._data, objects.committed, objects.rollback)
        try:
            objects.load(*storage.open())
            identity.set_aside(self.kubeconfig)
            storage.start()
            await _create_namespaces(objects, storage)
            await self._serve(objects, storage, ready)
        finally:
            storage.close()

    async def _serve(self, objects: Objects, storage: Storage, ready: asyncio.Event) -> None:
        shown = identity.ensure(self._data, self._hosts)
        admin = credentials.ensure_admin(self._data)
        known = Credentials(self._data)
        access = Access(objects.registry, objects.state)
        lister = Lister(objects.state, objects.now)
        streams = Streams(objects, lister, self._bookmark_s)
        schemas = SchemaFiles(self._data)
        kubelets = Kubelets(self._data / "pki")
        metrics = MetricsSource(objects, lister, kubelets)
        handler = Handler(objects, storage, lister, streams, known, access, schemas, kubelets, metrics)
        server = _HttpServer(handler, handler_cancellation=True, keepalive_timeout=KEEPALIVE_S, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            context = shown.ssl_context(self._client_ca)
            site = web.TCPSite(runner, self._host, self._port, ssl_context=context, backlog=BACKLOG)
            await site.start()
            self.url = _url(self._host, runner.addresses[0][1])
            content = identity.kubeconfig(self.url, shown.ca_pem, roles.ADMIN, admin)
            try:
                identity.put_back(self.kubeconfig, content)
            except OSError as error:
                # Whoever has one already is served, if only to read until there is room.
                log.error("no kubeconfig written file=%s error=%s", self.kubeconfig, error)
            log.info("listening url=%s kubeconfig=%s", self.url, self.kubeconfig)
            ready.set()
            await _controllers(objects, storage).run()
        finally:
            streams.close()
            await schemas.close()
            await kubelets.close()
            await runner.cleanup()
            log.info("stopped url=%s", self.url)


class _HttpServer(web.Server):
    """aiohttp's server without its router, and with the API's limit for bodies."""

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)


async def _create_namespaces(objects: Objects, storage: Storage) -> None:
    resource = objects.registry.find("", "v1", "namespaces")
    assert resource is not None
    for name in NAMESPACES:
        if objects.state.newest(resource.storage, "", name) is None:
            written = objects.create(resource, "", {"metadata": {"name": name}}, WriteOptions())
            if written.transaction is not None:
                await storage.write(written.transaction)


def _controllers(objects: Objects, storage: Storage) -> Controllers:
    """What the server does besides storing."""
    workloads: list[Controller] = [
        WorkloadController(objects, DaemonSets(partial(objects.state.current_all, "nodes"))),
        WorkloadController(objects, Deployments()),
        WorkloadController(objects, ReplicaSets()),
    ]
    first: list[Controller] = [Collector(objects), NodeLifecycle(objects)]
    last: list[Controller] = [Scheduler(objects), Evictor(objects), Expiry(objects)]
    return Controllers(objects, storage, [*first, *workloads, *last])


def _url(host: str, port: int) -> str:
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
