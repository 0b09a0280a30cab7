"""What `cloudcore.yaml` holds. Every field has a default; unknown keys are refused with the nearest known name."""

from pathlib import Path

from msgspec import Struct

LOG_LEVELS = ("debug", "info", "warning", "error")


class CloudCoreConfig(Struct, frozen=True):
    """The whole file."""

    kubeconfig: Path | None = None
    """The cluster: a kubeconfig file, its current context. Without one, the service account of the pod cloudcore runs in."""
    host: str = "0.0.0.0"
    """Address to listen on for nodes; all by default, for nodes are elsewhere."""
    port: int = 10000
    """TCP port to listen on; KubeEdge's. 0 takes a free one."""
    ca: Path = Path(".hedgerow/cloud/pki/ca.crt")
    """The CA that nodes' certificates must come from; PEM. `python -m cloud.certificates FOLDER` makes all three files."""
    certificate: Path = Path(".hedgerow/cloud/pki/server.crt")
    """What cloudcore shows; it names every host name and address that nodes use for it."""
    key: Path = Path(".hedgerow/cloud/pki/server.key")
    """Its private key."""
    kubelet_address: str = ""
    """Name or address under which the API server reaches this process, for `kubectl logs`; without one there is no such thing.
    Nodes have it as InternalDNS: kube-apiserver needs `--kubelet-preferred-address-types=InternalDNS,InternalIP,Hostname`."""
    kubelet_host: str = "0.0.0.0"
    """Address to listen on for the API server."""
    kubelet_port: int = 10250
    """TCP port likewise; a kubelet's."""
    kubelet_client_ca: Path | None = None
    """The CA of the certificate that the API server shows to kubelets, PEM: needed with `kubelet_address`."""
    kubelet_certificate: Path | None = None
    """What the API server is shown, PEM; without one, `certificate`. One with `--kubelet-certificate-authority` asks for a
    certificate of that authority, which names `kubelet_address`."""
    kubelet_key: Path | None = None
    """Its private key."""
    qps: float = 100.0
    """Patches of Devices' statuses a second, sustained, over all devices; KubeEdge's default. What comes faster is coalesced
    per device: the newest value is in Kubernetes at most two rounds over the changing devices later. Nodes' heartbeats come
    on top, one in ten seconds each."""
    burst: int = 200
    """Patches that may go at once after a quiet time, before `qps` holds."""
    install_crds: bool = True
    """Apply the CustomResourceDefinitions of Device, DeviceModel and DeviceFirmware where the cluster lacks them or has others.
    False on a cluster that also runs KubeEdge, or where cloudcore has no right to."""
    log_level: str = "info"
    """debug (every message), info, warning or error."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("port is not 0 to 65535")
        if self.kubelet_address and self.kubelet_client_ca is None:
            raise ValueError("kubelet_address needs a kubelet_client_ca")
        if (self.kubelet_certificate is None) != (self.kubelet_key is None):
            raise ValueError("kubelet_certificate and kubelet_key need each other")
        if not 1 <= self.kubelet_port <= 65535:
            raise ValueError("kubelet_port is not 1 to 65535")
        if self.qps <= 0:
            raise ValueError("qps is not above 0")
        if self.burst < 1:
            raise ValueError("burst is not at least 1")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level is none of {', '.join(LOG_LEVELS)}")
