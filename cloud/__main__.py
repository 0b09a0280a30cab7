"""`python -m cloud [cloudcore.yaml]`, or `cloudcore`: the map of the process.

Kubernetes ── Kube ─┬─ Follower: Nodes ───────────────> EdgeController ───┬─> Sessions ── CloudHub ══ nodes
                    ├─ Follower: Pods, ConfigMaps, Secrets -> PodController┤
                    ├─ Follower: DeviceModels, Devices -> DeviceController ┤
                    ├─ Follower: DeviceFirmwares, images -> FirmwareController ┘
                    └─ WriteService <── Writes <── all controllers, EventController
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cloud import CloudError
from cloud.cloud_hub import CloudHub, tls_context
from cloud.config import CloudCoreConfig
from cloud.definitions import Definitions
from cloud.delegated_access import DelegatedAccess
from cloud.device_controller import DeviceController
from cloud.edge_controller import EdgeController
from cloud.event_controller import EventController
from cloud.firmware_controller import FirmwareController
from cloud.firmware_objects import PART_LABEL
from cloud.kube import Kube
from cloud.kube_sync import Follower, Ticker, WriteService
from cloud.kubelet_api import KubeletApi
from cloud.node_status import KubeletEndpoint
from cloud.node_streams import NodeStreams
from cloud.objects import CONFIGMAPS, DEVICE_FIRMWARES, DEVICE_MODELS, DEVICES, NODES, PODS, SECRETS
from cloud.pod_controller import PodController
from cloud.sessions import Sessions
from cloud.usage_api import UsageApi
from cloud.writes import Writes
from edgewire.config import ConfigError, load
from edgewire.service import Service, serve_until_signalled

log = logging.getLogger("cloud")

READS_QPS, READS_BURST = 500.0, 1000
"""Of ConfigMaps and Secrets that pods name: a restart reads all of them."""


class _Ready:
    """The last service: says that the others are ready."""

    name = "ready"

    def __init__(self, hub: CloudHub) -> None:
        self._hub = hub

    async def run(self, ready: asyncio.Event) -> None:
        log.info("ready port=%d", self._hub.port)
        ready.set()
        await asyncio.get_running_loop().create_future()


class CloudCore:
    """The process, built and not yet running: `services` in the order in which they start, `hub` among them."""

    def __init__(self, settings: CloudCoreConfig, now: float) -> None:
        """`now` is the event loop's time. Raises HubError when the certificates cannot be used."""
        tls = tls_context(settings.ca, settings.certificate, settings.key)
        self.kube = kube = Kube(settings.kubeconfig)
        sessions = Sessions()
        device_writes = Writes(qps=settings.qps, burst=settings.burst, now=now)
        node_writes = Writes(qps=settings.qps, burst=settings.burst, now=now)
        devices = DeviceController(sessions, device_writes)
        kubelet = KubeletEndpoint(settings.kubelet_address, settings.kubelet_port) if settings.kubelet_address else None
        nodes = EdgeController(node_writes, now, kubelet=kubelet)
        firmware_writes = Writes(qps=settings.qps, burst=settings.burst, now=now)
        firmware = FirmwareController(sessions, firmware_writes)
        pod_writes = Writes(qps=settings.qps, burst=settings.burst, now=now)
        event_writes = Writes(qps=settings.qps, burst=settings.burst, now=now)
        pod_reads = Writes(qps=READS_QPS, burst=READS_BURST, now=now)
        pods = PodController(sessions, pod_writes, pod_reads, nodes.owner)
        events = EventController(event_writes, pods.node_of)
        streams = NodeStreams(sessions)
        sessions.attach([nodes, devices, firmware, pods, events, streams], [devices, firmware, pods])
        self.hub = CloudHub(sessions, tls, settings.host, settings.port)
        self.services: list[Service] = [
            *([Definitions(kube)] if settings.install_crds else []),
            Follower(kube, NODES, nodes.node_event),
            Follower(kube, DEVICE_MODELS, devices.model_event),
            Follower(kube, DEVICES, devices.device_event, firmware.device_event),
            Follower(kube, CONFIGMAPS, firmware.part_event, selector=PART_LABEL),
            Follower(kube, DEVICE_FIRMWARES, firmware.firmware_event),
            Follower(kube, CONFIGMAPS, pods.config_map_event, selector=f"!{PART_LABEL}", metadata_only=True),
            Follower(kube, SECRETS, pods.secret_event, metadata_only=True),
            Follower(kube, PODS, pods.pod_event),
            WriteService("write nodes", kube, node_writes, nodes),
            WriteService("write devices", kube, device_writes, devices),
            WriteService("write rollouts", kube, firmware_writes, firmware),
            WriteService("write pods", kube, pod_writes, pods),
            WriteService("read what pods name", kube, pod_reads, pods.files),
            WriteService("write events", kube, event_writes, events),
            Ticker("heartbeats", nodes.tick),
            Ticker("rollouts", firmware.tick),
            *_kubelet_api(settings, streams, pods, kube),
            # Nodes are let in when everything is known that they may be compared with.
            self.hub,
            _Ready(self.hub),
        ]


def _kubelet_api(settings: CloudCoreConfig, streams: NodeStreams, pods: PodController, kube: Kube) -> list[Service]:
    if not settings.kubelet_address or settings.kubelet_client_ca is None:
        return []
    certificate, key = settings.kubelet_certificate or settings.certificate, settings.kubelet_key or settings.key
    files = certificate, key, settings.kubelet_client_ca
    usage = UsageApi(streams, DelegatedAccess(kube.send, time.monotonic))
    return [KubeletApi(streams, pods.node_of, *files, settings.kubelet_host, settings.kubelet_port, usage.routes())]


async def run(settings: CloudCoreConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    core = CloudCore(settings, asyncio.get_running_loop().time())
    try:
        await serve_until_signalled(*core.services)
    finally:
        await core.kube.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop, 1 when it cannot run, 2 when the configuration cannot be used."""
    options = _options(arguments)
    overrides = {"kubeconfig": options.kubeconfig, "port": options.port, "log_level": options.log_level}
    try:
        settings = load(options.config or options.file, CloudCoreConfig, overrides)
    except ConfigError as error:
        sys.stderr.write(f"cloudcore: {error}\n")
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    try:
        asyncio.run(run(settings))
    except CloudError as error:
        log.error("cannot run: %s", error)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cloudcore", description="Connect edge nodes and their devices to Kubernetes."
    )
    parser.add_argument("file", nargs="?", type=Path, help="cloudcore.yaml; without one, the defaults")
    parser.add_argument("--config", type=Path, help="the same")
    parser.add_argument("--kubeconfig", help="the cluster, instead of the file's `kubeconfig`")
    parser.add_argument("--port", type=int, help="port to listen on, instead of the file's `port`")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
