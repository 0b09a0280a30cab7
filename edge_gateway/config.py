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


class BrokerConfig(Struct):
    """The MQTT broker: built in, or external."""

    kind: Literal["builtin", "external"] = "builtin"
    """`builtin` runs one in this process; `external` uses the one named below."""
    host: str = "127.0.0.1"
    """Address the built-in broker listens on. `0.0.0.0` lets boards on the network in: give them users first."""
    port: int = 1883
    """Port the built-in broker listens on; 0 takes a free one and logs it."""
    users_file: Path | None = None
    """Users, passwords and what each may do (docs/broker.md); relative to `data_dir`. Without it everyone may do all."""
    external: ExternalConfig = field(default_factory=ExternalConfig)


class EdgeConfig(Struct):
    """The configuration of edgecore."""

    node: str = field(default_factory=lambda: socket.gethostname().split(".")[0].lower())
    """Name of this gateway's Node in Kubernetes; the host's name by default. Its certificate must be for this name."""
    data_dir: Path = Path(".hedgerow")
    """Folder of the store, certificates and keys; made when missing."""
    cloud: CloudConfig = field(default_factory=CloudConfig)
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug` logs every message of the link."""
