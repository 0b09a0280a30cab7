"""What podman is told to make of a pod and its containers: command lines. A core.

No value of a variable is on a command line, where everybody on the machine could read it: podman is given `--env NAME` and
takes the value from its own environment. Names that podman reads itself are the exception.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edge_gateway.edged import identity, podman_isolation, quantities
from edge_gateway.edged.isolation import NO_RESOLVER, Resolver
from edge_gateway.edged.pods import Container, Pod
from edge_gateway.edged.runtime import Mount, RunId, StartOrder

GATEWAY, RUN, BOOT, UID = "hedgerow.dev/gateway", "hedgerow.dev/run", "hedgerow.dev/boot", "hedgerow.dev/uid"
"""Labels: whose a container is, which run of which pod, and in which of the machine's starts it was started."""
STARTED = "hedgerow.dev/started"
"""Label: when a run was started, as it was told, seconds since 1970; Podman's own time is a moment later."""
LOG_SIZE = "10mb"
PIDS = 4096
"""Processes and threads of one container, at most: what keeps one that forks without end from taking the machine along."""
_CPU_PERIOD_US = 100_000
_OWN_NAMES = frozenset(
    ("PATH", "HOME", "USER", "LANG", "TZ", "TERM", "TMPDIR", "SHELL", "PWD", "NOTIFY_SOCKET", "REGISTRY_AUTH_FILE")
)
_OWN_PREFIXES = (
    *("CONTAINER", "_CONTAINER", "STORAGE_", "XDG_", "DBUS_", "LISTEN_", "LC_", "LD_", "GO", "SSL_CERT_", "PODMAN"),
    *("DOCKER_", "BUILDAH_", "NETAVARK", "CNI_", "HTTP", "HTTPS", "NO_PROXY", "ALL_PROXY", "SYSTEMD_", "TMP"),
)


class Names:
    """What one gateway calls its pods and containers in a Podman that it shares with others."""

    def __init__(self, own: str) -> None:
        """`own` tells gateways of one machine apart."""
        self.own = own

    def pod(self, uid: str) -> str:
        """A pod's sandbox."""
        return f"{self.own}_{uid}"

    def infra(self, uid: str) -> str:
        """The container that holds the sandbox open."""
        return f"{self.own}_{uid}_sandbox"

    def uid_of_infra(self, name: str) -> str:
        """The pod that a container holds the sandbox of; empty when it does not."""
        uid = name.removeprefix(f"{self.own}_").removesuffix("_sandbox")
        return uid if name == self.infra(uid) else ""

    def container(self, id: RunId) -> str:
        """A run."""
        return f"{self.own}_{id.uid}_{id.container}_{id.attempt}"


def pod_create(pod: Pod, names: Names, machine: Resolver = NO_RESOLVER) -> list[str]:
    """Make a pod's sandbox: what its containers share; `machine` is what the machine resolves names by."""
    words = ["pod", "create", "--name", names.pod(pod.uid), "--infra", "--infra-name", names.infra(pod.uid)]
    words += ["--label", f"{GATEWAY}={names.own}", "--label", f"{UID}={pod.uid}"]
    words += podman_isolation.sandbox_options(pod, machine)
    if pod.spec.host_network:
        return [*words, "--network", "host"]
    words += ["--hostname", (pod.spec.hostname or pod.metadata.name)[:63]]
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for port in container.ports:
            if port.host_port:
                at = f"{port.host_ip}:" if port.host_ip else ""
                words += ["--publish", f"{at}{port.host_port}:{port.container_port}/{port.protocol.lower()}"]
    return words


def run(
    order: StartOrder,
    names: Names,
    image: str,
    boot: str,
    devices: Collection[str],
    profiles: Path = Path(),
    more: Collection[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Start a container: the command line, and what podman finds in its environment. `devices` are what of mounts are some,
    `profiles` is the folder of seccomp's, `more` are further options."""
    container = order.container
    on_line, by_name = environment(order.env)
    words = ["run", "--detach", "--pull", "never", "--pod", names.pod(order.id.uid)]
    words += ["--name", names.container(order.id), "--label", f"{GATEWAY}={names.own}"]
    words += ["--label", f"{RUN}={order.id}", "--label", f"{BOOT}={boot}", "--restart", "no"]
    words += ["--log-driver", "k8s-file", "--log-opt", f"path={order.log}", "--log-opt", f"max-size={LOG_SIZE}"]
    words += [*more, "--http-proxy=false", *(word for text in on_line for word in ("--env", text))]
    if container.working_dir:
        words += ["--workdir", container.working_dir]
    words += [*_mounts(order, devices), *_security(order.pod, container, order.groups), *_limits(container)]
    words += podman_isolation.container_options(order.pod, container, profiles)
    own, arguments = _command(order)
    return [*words, *own, image, *arguments], by_name


def _command(order: StartOrder) -> tuple[list[str], list[str]]:
    """The option that takes the place of the image's entrypoint, and the arguments."""
    own = len(order.container.command)
    if not own:
        return [], [*order.command]
    return ["--entrypoint", json.dumps([*order.command[:own]])], [*order.command[own:]]


def environment(env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """What is said of variables on the command line, and what podman takes from its environment."""
    on_line, by_name = [], {}
    for name, value in env.items():
        if name in _OWN_NAMES or name.upper().startswith(_OWN_PREFIXES) or "*" in name:
            on_line.append(f"{name}={value}")
        else:
            on_line.append(name)
            by_name[name] = value
    return on_line, by_name


def _mounts(order: StartOrder, devices: Collection[str]) -> Iterator[str]:
    mounts, where = order.mounts, order.container.termination_message_path
    if order.message is not None and where not in [mount.path for mount in mounts]:
        mounts = (*mounts, Mount(order.message, where))
    for mount in mounts:
        if str(mount.source) in devices:
            yield from ("--device", f"{mount.source}:{mount.path}:{'r' if mount.read_only else 'rwm'}")
        elif ":" in f"{mount.source}{mount.path}":
            read_only = ",readonly" if mount.read_only else ""
            yield from ("--mount", f"type=bind,source={mount.source},target={mount.path}{read_only}")
        else:
            yield from ("--volume", f"{mount.source}:{mount.path}:{'ro' if mount.read_only else 'rw'}")


def _security(pod: Pod, container: Container, groups: tuple[int, ...]) -> Iterator[str]:
    security = container.security_context
    user = identity.user_of(pod, container)
    group = security.run_as_group
    group = pod.spec.security_context.run_as_group if group is None else group
    if user is not None:
        yield from ("--user", f"{user}" if group is None else f"{user}:{group}")
    for number in groups:
        yield from ("--group-add", str(number))
    for word, capabilities in (("--cap-drop", security.capabilities.drop), ("--cap-add", security.capabilities.add)):
        for name in capabilities:
            yield from (word, name.upper().removeprefix("CAP_"))
    if security.privileged:
        yield "--privileged"
    elif not security.allow_privilege_escalation:
        yield from ("--security-opt", "no-new-privileges")
    if security.read_only_root_filesystem:
        yield from ("--read-only", "--read-only-tmpfs=false")


def _limits(container: Container) -> Iterator[str]:
    yield from ("--pids-limit", str(PIDS))
    limits, requests = container.resources.limits, container.resources.requests
    if "memory" in limits:
        memory = str(int(quantities.parse(limits["memory"])))
        yield from ("--memory", memory, "--memory-swap", memory)
    if "cpu" in limits:
        quota = max(1000, int(quantities.parse(limits["cpu"]) * _CPU_PERIOD_US))
        yield from ("--cpu-period", str(_CPU_PERIOD_US), "--cpu-quota", str(quota))
    if "cpu" in requests:
        yield from ("--cpu-shares", str(max(2, int(quantities.parse(requests["cpu"]) * 1024))))


def refusals(pod: Pod, *, app_armor: bool = False) -> list[str]:
    """What a pod asks for that Podman cannot give; `app_armor` says whether the machine's kernel has AppArmor on."""
    of_containers = [
        f"container {container.name!r}: {why}"
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for why in _container_refusals(pod, container)
    ]
    return [*podman_isolation.refusals(pod, app_armor=app_armor), *of_containers]


def _container_refusals(pod: Pod, container: Container) -> Iterator[str]:
    user = identity.user_of(pod, container)
    groups = container.security_context.run_as_group, pod.spec.security_context.run_as_group
    if not container.image:
        yield "it has no `image`"
    if user is None and groups != (None, None):
        yield "runAsGroup without runAsUser"
    if user == 0 and identity.must_not_be_root(pod, container):
        yield "runAsNonRoot: it would run as root; say runAsUser"
