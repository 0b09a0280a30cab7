"""`edgecore.yaml`: every field has a default, so that `edgecore` alone starts a gateway in `./.hedgerow`."""

import socket
from pathlib import Path
from typing import Literal

from msgspec import Struct, field


class CloudConfig(Struct):
    """Where the cloud is; without a `url` the gateway serves its site alone."""

    url: str = ""
    """`wss://HOST:10000` of cloudcore."""
    ca: Path = Path("pki/ca.crt")
    """Certificate of the authority that signed cloudcore's, PEM; relative to `data_dir`."""
    certificate: Path = Path("pki/node.crt")
    """This node's certificate, PEM, CN `system:node:<node>`; relative to `data_dir`."""
    key: Path = Path("pki/node.key")
    """Its private key, PEM; relative to `data_dir`."""


class ExternalConfig(Struct):
    """A broker somebody else runs, such as mosquitto on this machine."""

    host: str = "127.0.0.1"
    port: int = 1883
    user: str = ""
    password: str = ""


class BrokerTls(Struct):
    """The built-in broker's TLS listener. Files are PEM, relative to `data_dir`; they are read again when they change."""

    certificate: Path
    """The broker's certificate, with those between it and its authority."""
    key: Path
    """Its private key, without a passphrase."""
    client_ca: Path | None = None
    """Certificate of the authority that signed clients' certificates. The CN of a client's certificate is its user, no password
    is asked; who shows none gives user and password as without TLS."""
    require_certificate: bool = False
    """Whether a client without a certificate is turned away."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8883
    """Port to listen on; 0 takes a free one and logs it."""

    def __post_init__(self) -> None:
        if self.require_certificate and self.client_ca is None:
            raise ValueError("`require_certificate` needs a `client_ca`")


class BrokerConfig(Struct):
    """The MQTT broker: built in, or external."""

    kind: Literal["builtin", "external"] = "builtin"
    """`builtin` runs one in this process; `external` uses the one named below."""
    host: str = "127.0.0.1"
    """Address the built-in broker listens on. `0.0.0.0` lets boards on the network in: give them users first."""
    port: int | None = 1883
    """Port the built-in broker listens on without TLS; 0 takes a free one and logs it, null does without."""
    tls: BrokerTls | None = None
    """A listener with TLS, beside the other."""
    users_file: Path | None = None
    """Users, passwords and what each may do (docs/broker.md); relative to `data_dir`. Without it and the two below
    everyone may do all."""
    password_file: Path | None = None
    """Instead: users and passwords as mosquitto_passwd writes them; relative to `data_dir`."""
    acl_file: Path | None = None
    """Instead: what each may do, as mosquitto's `acl_file`; relative to `data_dir`. Without it users may do all."""
    allow_anonymous: bool = False
    """With `password_file` or `acl_file`: whether clients without a user are let in, to what the ACL gives them."""
    external: ExternalConfig = field(default_factory=ExternalConfig)

    def __post_init__(self) -> None:
        if self.users_file is not None and (self.password_file is not None or self.acl_file is not None):
            raise ValueError("users come from `users_file`, or from `password_file` and `acl_file`, not from both")
        if self.port is None and self.tls is None:
            raise ValueError("without a `port` there must be `tls`")


class ImagesConfig(Struct):
    """Images of Podman that no pod needs any more; as a kubelet's settings of the same meaning, in its defaults."""

    high_percent: int = 85
    """Above this part of the image store's disk, images go (imageGCHighThresholdPercent); 100: never for that."""
    low_percent: int = 80
    """Until no more than this part is used (imageGCLowThresholdPercent)."""
    min_age_s: float = 120.0
    """Since an image came, before it may go (imageMinimumGCAge)."""
    max_age_s: float = 0.0
    """Unused for that long, an image goes though the disk has room (imageMaximumGCAge); 0: never for that."""
    pinned: list[str] = []
    """Names of images that stay, with their registry and tag; `*` stands for anything: `localhost/*`, those of no
    registry, which go last as it is; what was loaded from a file under a registry's name goes like any other."""

    def __post_init__(self) -> None:
        if not 0 <= self.low_percent < self.high_percent <= 100:
            raise ValueError("`low_percent` is below `high_percent`, and both are from 0 to 100")
        if self.min_age_s < 0 or self.max_age_s < 0:
            raise ValueError("`min_age_s` and `max_age_s` are not below 0")


class EdgedConfig(Struct):
    """The pods of this node."""

    runtime: Literal["auto", "podman", "process", "none"] = "auto"
    """`podman` runs containers from images; `process` runs them as plain processes of this machine (docs/pods.md); `auto` takes
    Podman where it is installed and can be used; `none` takes no pods."""
    max_pods: int = 110
    """How many pods the node takes (kubelet's default)."""
    leave_running: bool = True
    """Whether pods go on when edgecore stops, as they do under a kubelet."""
    static_pods: Path | None = None
    """Folder of manifests of pods that run here whatever the cloud says, or without one; relative to `data_dir`."""
    memory_dir: Path | None = None
    """Folder on a tmpfs for Secrets and emptyDirs of medium Memory; by default below /run for root, else below /dev/shm."""
    log_dir: Path = Path("logs/pods")
    """Folder of containers' logs, laid out as a kubelet's /var/log/pods; relative to `data_dir`."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    """When images are removed."""
    key: Path = Path("pki/secrets.key")
    """The key that Secrets are encrypted with in the store, made when missing; relative to `data_dir`."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_pods <= 1000:
            raise ValueError(f"`max_pods` is {self.max_pods}, not between 1 and 1000")


class LocalApiConfig(Struct):
    """The Kubernetes-shaped API for applications on this machine (docs/local-api.md)."""

    port: int | None = 10550
    """TCP port on 127.0.0.1, with TLS, for whoever shows a token; 0 takes a free one and logs it, null does without."""
    pods: Literal["none", "viewer", "operator"] = "operator"
    """What pods may at most that ask by the annotation `hedgerow.dev/local-api`. They need the `port`."""
    socket: Path | None = Path("local-api/api.sock")
    """Unix socket, relative to `data_dir`; null does without. Its mode is 0660: who may open it needs no token."""
    socket_group: str = ""
    """Group of the machine that may open the socket; by default the one edgecore runs in."""
    socket_role: Literal["viewer", "operator"] = "operator"
    """What those may do who come by the socket: read, or set desired values too."""
    tokens: Path = Path("local-api/tokens.json")
    """Hashes of tokens, as `edgecore token` writes them; relative to `data_dir`."""
    kubeconfig: Path | None = Path("local-api/kubeconfig")
    """Written for kubectl at every start, readable by edgecore's own user only; relative to `data_dir`."""

    def __post_init__(self) -> None:
        if self.port is None and self.socket is None:
            raise ValueError("without a `port` there must be a `socket`")


class EdgeConfig(Struct):
    """The configuration of edgecore."""

    node: str = field(default_factory=lambda: socket.gethostname().split(".")[0].lower())
    """Name of this gateway's Node in Kubernetes; the host's name by default. Its certificate must be for this name."""
    data_dir: Path = Path(".hedgerow")
    """Folder of the store, certificates and keys; made when missing."""
    cloud: CloudConfig = field(default_factory=CloudConfig)
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    edged: EdgedConfig = field(default_factory=EdgedConfig)
    mappers: list[str] = field(default_factory=list)
    """Mappers to run in a process beside this one: protocols, such as `modbus`, and files as docs/mappers.md has them
    (`mapper.yaml`, relative to `data_dir`). None by default: mappers come as pods, or by themselves."""
    local_api: LocalApiConfig | None = None
    """The API for applications on this machine; none unless it is there, `{}` takes its defaults."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug` logs every message of the link."""

    def __post_init__(self) -> None:
        if len(set(self.mappers)) < len(self.mappers) or "" in self.mappers:
            raise ValueError("`mappers` names each protocol and each file once")
        if any(name.startswith("-") for name in self.mappers):
            raise ValueError("`mappers` are protocols and files, not options")
        if self.mappers and self.broker.kind == "builtin" and self.broker.port is None:
            raise ValueError("`mappers` need a `broker.port`: they do without TLS")
