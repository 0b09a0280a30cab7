"""What a pod asks for that no runtime of this gateway can give: said at once, a sentence each, before anything is started."""

from collections.abc import Iterator

import msgspec

from edge_gateway.edged import quantities
from edge_gateway.edged.pod_fields import REFUSED, TOLD
from edge_gateway.edged.pod_volumes import Volume, is_token_volume
from edge_gateway.edged.pods import Container, Handler, Pod


def refusals(pod: Pod) -> list[str]:
    """What a pod asks for that no runtime of this gateway gives; a sentence each."""
    unread = [f"{where}: {REFUSED[key]}" for key, where in pod.unread if key in REFUSED]
    return [*unread, *_volume_refusals(pod), *(why for c in _all(pod) for why in _container_refusals(pod, c))]


def ignored(pod: Pod) -> str:
    """What a pod asks for that is neither refused nor known: for its user."""
    why = {key: TOLD.get(key, "this node does not know that field") for key, _ in pod.unread if key not in REFUSED}
    return "; ".join(f"{where}: {why[key]}" for key, where in pod.unread if key in why)


def _all(pod: Pod) -> Iterator[Container]:
    yield from pod.spec.init_containers
    yield from pod.spec.containers


def _volume_refusals(pod: Pod) -> Iterator[str]:
    for raw in pod.spec.volumes:
        name = raw.get("name", "")
        try:
            volume = msgspec.convert(raw, Volume)
        except msgspec.ValidationError as error:
            yield f"volume {name!r}: this node has no such kind of volume ({error})"
            continue
        if volume.empty_dir is not None and volume.empty_dir.size_limit is not None:
            yield from (f"volume {name!r}: sizeLimit: {why}" for why in _no_quantity(volume.empty_dir.size_limit))
        sources = volume.projected.sources if volume.projected is not None else ()
        if any(source.service_account_token is not None for source in sources) and not is_token_volume(volume):
            yield f"volume {name!r}: this node has no service account tokens"


def _container_refusals(pod: Pod, container: Container) -> Iterator[str]:
    where = f"container {container.name!r}:"
    names = {volume.get("name") for volume in pod.spec.volumes}
    for kind, amounts in (("requests", container.resources.requests), ("limits", container.resources.limits)):
        for resource, amount in amounts.items():
            yield from (f"{where} resources.{kind}.{resource}: {why}" for why in _no_quantity(amount))
    if container.volume_devices:
        yield f"{where} volumeDevices: this node has no block volumes"
    if container.tty:
        yield f"{where} tty: this node gives containers no terminal"
    for mount in container.volume_mounts:
        if mount.name not in names:
            yield f"{where} volumeMounts: there is no volume {mount.name!r}"
        if mount.mount_propagation not in ("", "None"):
            yield f"{where} volumeMounts: mountPropagation {mount.mount_propagation} is not possible here"
    probes = {"liveness": container.liveness_probe, "readiness": container.readiness_probe}
    for name, probe in {**probes, "startup": container.startup_probe}.items():
        if probe is not None:
            yield from (f"{where} {name}Probe: {why}" for why in _handler_refusals(container, probe))
    hooks = {"postStart": container.lifecycle.post_start, "preStop": container.lifecycle.pre_stop}
    for name, hook in hooks.items():
        if hook is not None:
            yield from (f"{where} lifecycle.{name}: {why}" for why in _handler_refusals(container, hook))


def _handler_refusals(container: Container, handler: Handler) -> Iterator[str]:
    if handler.grpc is not None:
        yield "gRPC is not known here; use exec, httpGet or tcpSocket"
    for action in (handler.http_get, handler.tcp_socket):
        if action is not None and container.port(action.port) is None:
            yield f"there is no port named {action.port!r}"


def _no_quantity(amount: str | int | float) -> Iterator[str]:
    try:
        quantities.parse(amount)
    except quantities.QuantityError as error:
        yield str(error)
