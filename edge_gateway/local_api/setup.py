"""Builds the local API from its configuration. Imported only where it is on."""

import logging

from edge_gateway.config import EdgeConfig, LocalApiConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.local_api import LocalApiError, token_files
from edge_gateway.local_api.access import AccountsError, Rights
from edge_gateway.local_api.resources import LocalApi
from edge_gateway.local_api.server import LocalServer, Perform
from edge_gateway.local_api.token_files import TokenFile
from edgewire.message import now_ms

log = logging.getLogger(__name__)

USER = "gateway"
"""Whose token stands in the kubeconfig."""


def build(config: EdgeConfig, settings: LocalApiConfig, core: EdgeCore, perform: Perform) -> LocalServer:
    """The service, listening. Raises LocalApiError."""
    server = LocalServer(lambda: LocalApi(core, now_ms()), perform)
    folder = config.data_dir.absolute()
    try:
        if settings.socket is not None:
            rights = Rights("socket", settings.socket_role == "operator", False)
            server.listen_unix(folder / settings.socket, settings.socket_group, rights)
            log.info("= local API socket=%s role=%s", folder / settings.socket, settings.socket_role)
        if settings.port is not None:
            tokens = folder / settings.tokens
            port = server.listen_tcp(settings.port, TokenFile(tokens).rights)
            log.info("= local API port=%d", port)
            if settings.kubeconfig is not None:
                token = token_files.issue(tokens, USER, "operator", False)
                token_files.write(folder / settings.kubeconfig, token_files.kubeconfig(config.node, port, token))
    except (OSError, AccountsError) as error:
        server.close()
        raise LocalApiError(f"files of the local API cannot be used: {error}") from error
    except LocalApiError:
        server.close()
        raise
    return server
