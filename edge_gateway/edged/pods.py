"""A pod as the cloud sends it: typed, as far as a node is concerned with it.

What the API server defaults is defaulted here too: pods also come from files. Names and meanings are Kubernetes' (core/v1 Pod).
"""

from typing import Any

import msgspec
from msgspec import field

from edge_gateway.edged import EdgedError
from edge_gateway.edged.pod_fields import unread
from edge_gateway.edged.pod_volumes import Camel, FieldRef, ResourceFieldRef, Volume
from edgewire.message import UNREADABLE

MIRROR = "kubernetes.io/config.mirror"
"""The annotation of a pod that only shows a static one, and its value that one's uid."""


MESSAGE_PATH = "/dev/termination-log"


class PodError(EdgedError):
    """A pod that cannot be read; the text names the field."""


class KeyRef(Camel, frozen=True):
    """A key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool = False


class EnvSource(Camel, frozen=True):
    """Where a variable's value comes from."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(Camel, frozen=True):
    """One variable."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None


class Named(Camel, frozen=True):
    """A ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class EnvFrom(Camel, frozen=True):
    """All keys of a ConfigMap or Secret as variables."""

    prefix: str = ""
    config_map_ref: Named | None = None
    secret_ref: Named | None = None


class ExecAction(Camel, frozen=True):
    """A command in the container."""

    command: tuple[str, ...] = ()


class Header(Camel, frozen=True):
    """One header of a request."""

    name: str
    value: str = ""


class HttpGet(Camel, frozen=True):
    """A request to the container."""

    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(Camel, frozen=True):
    """A connection to the container."""

    port: int | str
    host: str = ""


class Sleep(Camel, frozen=True):
    """A wait."""

    seconds: int


class Handler(Camel, frozen=True):
    """One call of a container, by one of several ways."""

    exec: ExecAction | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: Sleep | None = None
    grpc: dict[str, Any] | None = None


class Probe(Handler, frozen=True):
    """A call that is made again and again; seconds."""

    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Lifecycle(Camel, frozen=True):
    """Calls after the start and before the end."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class VolumeMount(Camel, frozen=True):
    """Where a container sees a volume."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    mount_propagation: str = ""


class Capabilities(Camel, frozen=True):
    """What root may do in a container, more or less than usual."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class Profile(Camel, frozen=True):
    """A profile of seccomp or AppArmor: RuntimeDefault, Unconfined, or Localhost, which names one."""

    type: str
    localhost_profile: str = ""


class SELinuxOptions(Camel, frozen=True):
    """The label of a container's processes."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SecurityContext(Camel, frozen=True):
    """Whom a container runs as, and what it may do."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool = True
    capabilities: Capabilities = Capabilities()
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    se_linux_options: SELinuxOptions | None = None
    proc_mount: str = "Default"


class Sysctl(Camel, frozen=True):
    """A setting of the kernel."""

    name: str
    value: str


class PodSecurityContext(Camel, frozen=True):
    """The same, for all containers of a pod."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str = "Merge"
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    se_linux_options: SELinuxOptions | None = None


class Port(Camel, frozen=True):
    """A port of a container."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = field(name="hostIP", default="")


class Resources(Camel, frozen=True):
    """Quantities a container asks for, and may have at most."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(Camel, frozen=True):
    """One container."""

    name: str
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    volume_devices: tuple[dict[str, Any], ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security_context: SecurityContext = SecurityContext()
    restart_policy: str = ""
    """`Always` makes a sidecar of an init container."""
    tty: bool = False
    termination_message_path: str = MESSAGE_PATH
    termination_message_policy: str = "File"

    def port(self, named: int | str) -> int | None:
        """A port's number, or None for a name that no port has."""
        if isinstance(named, int) or named.isdigit():
            return int(named)
        return next((port.container_port for port in self.ports if port.name == named), None)


class HostAlias(Camel, frozen=True):
    """Names of an address, for /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DnsOption(Camel, frozen=True):
    """An option of resolv.conf."""

    name: str
    value: str = ""


class DnsConfig(Camel, frozen=True):
    """What is added to resolv.conf, or all of it where `dnsPolicy` is None."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class PodSpec(Camel, frozen=True):
    """What is to run."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    node_name: str = ""
    priority: int = 0
    service_account_name: str = ""
    hostname: str = ""
    host_network: bool = False
    host_pid: bool = field(name="hostPID", default=False)
    host_ipc: bool = field(name="hostIPC", default=False)
    host_users: bool = True
    share_process_namespace: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig = DnsConfig()
    image_pull_secrets: tuple[Named, ...] = ()
    security_context: PodSecurityContext = PodSecurityContext()


class Metadata(Camel, frozen=True):
    """Which pod, and what is said of it."""

    name: str
    uid: str
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int = 0
    generation: int = 0


class _Status(Camel, frozen=True):
    phase: str = ""


class Pod(Camel, frozen=True):
    """One pod."""

    metadata: Metadata
    spec: PodSpec
    status: _Status = _Status()
    unread: tuple[tuple[str, str], ...] = ()
    """Fields that are set and that nothing here reads: as `pod_fields` names them, and where each stands."""

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def uid(self) -> str:
        """Which of all pods that ever had its name."""
        return self.metadata.uid

    @property
    def mirrors(self) -> str:
        """The uid of the static pod that it shows; such a pod is not run. Empty in others."""
        return self.metadata.annotations.get(MIRROR, "")

    def volumes(self) -> list[Volume]:
        """Its volumes. Raises PodError for a kind that is not known here."""
        found = []
        for volume in self.spec.volumes:
            try:
                found.append(msgspec.convert(volume, Volume))
            except msgspec.ValidationError as error:
                raise PodError(f"volume {volume.get('name', '')!r}: {error}") from error
        return found

    def container(self, name: str) -> Container | None:
        """One of its containers or init containers."""
        return next((c for c in (*self.spec.containers, *self.spec.init_containers) if c.name == name), None)


def parse(content: bytes) -> Pod:
    """A pod from its JSON. Raises PodError."""
    try:
        raw = _without_nulls(msgspec.json.decode(content))
        pod = msgspec.convert(raw, Pod)
    except (*UNREADABLE, msgspec.ValidationError) as error:
        raise PodError(str(error)) from error
    volumes = [
        found for volume in pod.spec.volumes for found in unread(volume, Volume, f"volume {volume.get('name')!r}")
    ]
    return msgspec.structs.replace(pod, unread=(*unread(raw["spec"], PodSpec, "spec"), *volumes))


def _without_nulls(value: Any) -> Any:
    """An API object written by hand says null for what it does not say."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value
