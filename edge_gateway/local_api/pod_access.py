"""The local API for pods: which may use it, with what rights, and what they find in their containers. A core.

A pod asks with the annotation `hedgerow.dev/local-api: viewer` or `operator`, and finds the files and variables that clients of
Kubernetes look for in any pod: their in-cluster configuration is that of the gateway. A token is good for as long as its pod is
here, does not end, and asks; what it may do follows from the annotation as it is now.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from edge_gateway.edged.access import ANNOTATION
from edge_gateway.edged.pods import Pod
from edge_gateway.local_api.access import Rights, bearer
from edge_gateway.local_api.pod_tokens import PodTokens, TokenPod

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where clients of Kubernetes look in a container."""
HOST, POD_NETWORK_HOST = "127.0.0.1", "host.containers.internal"
"""Where the gateway is for a container on the machine's own network, and for one on Podman's."""
USER_PREFIX = "pod:"
_ROLES = ("viewer", "operator")


class Holder(NamedTuple):
    """A pod that may use the local API."""

    namespace: str
    name: str
    uid: str
    operator: bool


class MqttPlace(NamedTuple):
    """Where pods find the broker."""

    port: int
    everywhere: bool
    """On Podman's network too."""


class PodAccess:
    """An `edged.access.Access`."""

    def __init__(
        self,
        tokens: PodTokens,
        certificate: bytes,
        *,
        port: int,
        most: str,
        place: str,
        apart: bool,
        now_s: Callable[[], float],
        broker: MqttPlace | None = None,
    ) -> None:
        """`certificate` is what the local API's `port` shows, PEM; `most` is the role that pods may have at most; `place` is as
        in `Access`; `apart` says that pods with a network of their own do not reach the port."""
        self.place = place
        self.pods: Callable[[], Iterable[Pod]] = lambda: ()
        """Those that are here and not over; Edged says so, once it runs them. Any thread may ask."""
        self._port, self._apart = port, apart
        self._tokens = tokens
        self._certificate = certificate
        self._most = most
        self._now_s = now_s
        self._broker = broker

    def refusals(self, pod: Pod) -> list[str]:
        """What a pod asks for that it cannot have."""
        role = pod.metadata.annotations.get(ANNOTATION)
        if role is None:
            return []
        if role not in _ROLES:
            return [f"annotation {ANNOTATION}: {role!r} is none of {', '.join(_ROLES)}"]
        if not self._allows(role):
            return [f"annotation {ANNOTATION}: pods are {self._most} at most on this gateway (`local_api.pods`)"]
        if self._apart and not pod.spec.host_network:
            return [f"annotation {ANNOTATION}: the gateway is out of reach of Podman's network; say hostNetwork: true"]
        return []

    def asked(self, pod: Pod) -> bool:
        """Whether a pod shall have it."""
        return self._allows(pod.metadata.annotations.get(ANNOTATION, ""))

    def files(self, pod: Pod) -> Mapping[str, bytes]:
        """As a service account has them, and a kubeconfig for where they are elsewhere."""
        namespace = pod.metadata.namespace
        token = self._tokens.issue(TokenPod(namespace, pod.metadata.name, pod.uid), self._now_s())
        return {
            "token": token.encode(),
            "ca.crt": self._certificate,
            "namespace": namespace.encode(),
            "kubeconfig": _kubeconfig(f"https://{HOST}:{self._port}", namespace),
        }

    def environment(self, pod: Pod, address: str, folder: str) -> Mapping[str, str]:
        """What a client's in-cluster configuration goes by; elsewhere placed, its KUBECONFIG; and the broker."""
        host = POD_NETWORK_HOST if address else HOST
        found = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(self._port)}
        if self._broker is not None and (self._broker.everywhere or not address):
            found |= {"HEDGEROW_BROKER_HOST": host, "HEDGEROW_BROKER_PORT": str(self._broker.port)}
            found["HEDGEROW_BROKER_USER"] = user_name(pod.metadata.namespace, pod.metadata.name)
            found["HEDGEROW_BROKER_PASSWORD_FILE"] = f"{folder}/token"
        return found if self.place else {**found, "KUBECONFIG": f"{folder}/kubeconfig"}

    def rights(self, authorization: str) -> Rights | None:
        """The rights of an `Authorization` header with a pod's token, or None."""
        pod = self.holder(bearer(authorization))
        return (
            Rights(f"pod {pod.namespace}/{pod.name}", pod.operator, False, pod.namespace) if pod is not None else None
        )

    def holder(self, token: str) -> "Holder | None":
        """The pod whose token this is, if it is good now."""
        pod = self._tokens.read(token, self._now_s())
        found = self.named(pod.namespace, pod.name) if pod is not None else None
        return found if found is not None and pod is not None and found.uid == pod.uid else None

    def named(self, namespace: str, name: str) -> "Holder | None":
        """The pod of a name, if it is here, is not over, and may use the local API now."""
        for pod in self.pods():
            if (pod.metadata.name, pod.metadata.namespace) == (name, namespace) and self.asked(pod):
                return Holder(namespace, name, pod.uid, pod.metadata.annotations[ANNOTATION] == "operator")
        return None

    def _allows(self, role: str) -> bool:
        return role in _ROLES and role in (self._most, "viewer") and self._most != "none"


def user_name(namespace: str, name: str) -> str:
    """The user of the broker that a pod is."""
    return f"{USER_PREFIX}{namespace}/{name}"


def _kubeconfig(server: str, namespace: str) -> bytes:
    """Beside the other files: it names them."""
    cluster = {"name": "gateway", "cluster": {"server": server, "certificate-authority": "ca.crt"}}
    user = {"name": "pod", "user": {"tokenFile": "token"}}
    context = {"name": "gateway", "context": {"cluster": "gateway", "user": "pod", "namespace": namespace}}
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [user],
        "contexts": [context],
        "current-context": "gateway",
    }
    return json.dumps(made, indent=1).encode() + b"\n"
