"""Builds the local API from its configuration. Imported only where it is on."""

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_gateway.broker.tls import TlsListener
from edge_gateway.config import EdgeConfig, LocalApiConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.local_api import LocalApiError, certificate, token_files
from edge_gateway.local_api.access import AccountsError, Rights
from edge_gateway.local_api.resources import LocalApi
from edge_gateway.local_api.server import LocalServer, Perform, Who
from edge_gateway.local_api.token_files import TokenFile
from edge_gateway.sealing import node_key
from edgewire.config import ConfigError
from edgewire.message import now_ms

if TYPE_CHECKING:
    from edge_gateway.local_api.pod_access import PodAccess

log = logging.getLogger(__name__)

USER = "gateway"
"""Whose token stands in the kubeconfig."""
CERTIFICATE = Path("pki/local-api.pem")
"""Relative to `data_dir`."""


class Built(NamedTuple):
    """The local API."""

    server: LocalServer
    pods: "PodAccess | None"
    """Its side for pods; None where they get nothing of it."""


def build(config: EdgeConfig, settings: LocalApiConfig, core: EdgeCore, perform: Perform, runtime: str | None) -> Built:
    """The service, listening; `runtime` is what runs pods, None where nothing does. Raises LocalApiError."""
    server = LocalServer(lambda: LocalApi(core, now_ms()), perform)
    folder = config.data_dir.absolute()
    pods = None
    try:
        if settings.socket is not None:
            rights = Rights("socket", settings.socket_role == "operator", False)
            server.listen_unix(folder / settings.socket, settings.socket_group, rights)
            log.info("= local API socket=%s role=%s", folder / settings.socket, settings.socket_role)
        if settings.port is not None:
            pods = _listen(server, config, settings, runtime)
    except (OSError, AccountsError) as error:
        server.close()
        raise LocalApiError(f"files of the local API cannot be used: {error}") from error
    except (LocalApiError, ConfigError):
        server.close()
        raise
    return Built(server, pods)


def _listen(
    server: LocalServer, config: EdgeConfig, settings: LocalApiConfig, runtime: str | None
) -> "PodAccess | None":
    """Listen for those who show a token. Raises LocalApiError, AccountsError, ConfigError, OSError."""
    assert settings.port is not None
    folder = config.data_dir.absolute()
    own = folder / CERTIFICATE
    certificate.ensure(own)
    tls, shown = TlsListener(own, own).context(), certificate.public(own)
    tokens = folder / settings.tokens
    accounts = TokenFile(tokens).rights
    found: list[Who] = [accounts]

    def who(authorization: str) -> Rights | None:
        return next((rights for ask in found if (rights := ask(authorization)) is not None), None)

    port = server.listen_tcp("127.0.0.1", settings.port, tls, who)
    log.info("= local API port=%d", port)
    if settings.kubeconfig is not None:
        token = token_files.issue(tokens, USER, "operator", False)
        token_files.write(folder / settings.kubeconfig, token_files.kubeconfig(config.node, port, shown, token))
    if runtime is None or settings.pods == "none":
        return None
    bridge = _bridge() if runtime == "podman" else ""
    if bridge:
        server.listen_tcp(bridge, port, tls, who)
        log.info("= local API for pods address=%s port=%d", bridge, port)
    pods = _pods(config, settings, shown, port, _place(runtime), apart=runtime == "podman" and not bridge)
    found.append(pods.rights)
    return pods


def _pods(
    config: EdgeConfig, settings: LocalApiConfig, shown: bytes, port: int, place: str, *, apart: bool
) -> "PodAccess":
    from edge_gateway.local_api.pod_access import MqttPlace, PodAccess
    from edge_gateway.local_api.pod_tokens import PodTokens

    tokens = PodTokens(node_key(config.data_dir / config.edged.key), config.node)
    broker = None
    if config.broker.kind == "builtin" and config.broker.port:
        broker = MqttPlace(config.broker.port, everywhere=config.broker.host == "0.0.0.0")
    most, now = settings.pods, time.time
    return PodAccess(tokens, shown, port=port, most=most, place=place, apart=apart, now_s=now, broker=broker)


def _place(runtime: str) -> str:
    """Where containers have their token: where clients look for it, if anything can be mounted there."""
    from edge_gateway.local_api.pod_access import PLACE

    return PLACE if runtime == "podman" or os.geteuid() == 0 else ""


def _bridge() -> str:
    from edge_gateway.local_api import pod_network

    return pod_network.gateway()
