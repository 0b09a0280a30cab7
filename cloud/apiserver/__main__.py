"""`python -m cloud.apiserver --data DIR`: the embedded Kubernetes API as a process of its own."""

import argparse
import asyncio
import asyncio.sslproto
import logging
import sys
from pathlib import Path

from cloud.apiserver.server import ApiServer
from cloud.apiserver.status import ApiError
from edgewire.service import serve_until_signalled

log = logging.getLogger("cloud.apiserver")

SWITCH_INTERVAL_S = 0.0005
"""The writer thread must not wait 5 ms for the interpreter while requests are computed."""

TLS_BUFFER_BYTES = 32 << 10
"""asyncio takes 256 KiB a TLS connection to receive into: half a gigabyte for two thousand watches, which receive nothing."""


def main() -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop, 1 when the data folder or the port cannot be used."""
    options = _arguments()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    server = ApiServer(options.data, options.host, options.port, options.name, client_ca=options.client_ca)
    try:
        asyncio.run(serve_until_signalled(server))
    except (ApiError, OSError) as error:
        log.error("cannot serve data=%s error=%s", options.data, error)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cloud.apiserver", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the database, certificates and kubeconfig")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=6443, help="port to listen on; 0 takes a free one")
    parser.add_argument("--name", action="append", default=[], help="further host name or address for the certificate")
    parser.add_argument("--client-ca", type=Path, help="a further CA whose certificates let clients in; PEM")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
