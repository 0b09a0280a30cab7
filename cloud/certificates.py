"""The link's certificates: a CA of our own, one certificate for the hub, one for each node; ECDSA P-256, PEM files.

    ca.crt ca.key                  the CA; its key stays here
    server.crt server.key          what CloudHub shows: every name and address nodes reach it by
    nodes/<node>.crt .key          what a node shows: CN `system:node:<node>`, O `system:nodes`, as KubeEdge's

The `ensure_` functions make what is missing, would expire within `RENEW_BEFORE`, is not of this CA, or does not name all it
should; else they leave the files alone. Keys are readable by their owner only. From a shell:

    python -m cloud.certificates FOLDER --host cloud.example.org --node edge1
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud import CloudError, issuing
from cloud.issuing import Issued
from cloud.objects import NODE_PREFIX, is_name

log = logging.getLogger(__name__)

NODES_GROUP = "system:nodes"

CA_LIFE = timedelta(days=3650)
LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)


class CertificateError(CloudError):
    """A certificate or key file that cannot be used; the text names it."""


class Pair(NamedTuple):
    """The files of a certificate and its private key."""

    certificate: Path
    key: Path


def ensure_ca(folder: Path) -> Pair:
    """The CA of a folder, made when there is none. It is never replaced: every certificate hangs on it."""
    pair = Pair(folder / "ca.crt", folder / "ca.key")
    if not pair.certificate.exists():
        _write(pair, issuing.authority("Hedgerow CA", CA_LIFE))
    return pair


def ensure_server(folder: Path, hosts: Sequence[str]) -> Pair:
    """The hub's certificate for these names and addresses, in `server.crt` and `server.key`."""
    pair = Pair(folder / "server.crt", folder / "server.key")
    names = [issuing.general_name(host) for host in hosts]
    ca = _loaded(ensure_ca(folder))
    if not _good(pair, ca.certificate, names):
        _write(pair, issuing.issue(ca, "hedgerow cloudcore", issuing.SERVER, LIFE, hosts=names))
    return pair


def ensure_node(folder: Path, node: str) -> Pair:
    """The client certificate of a node, in `nodes/<node>.crt` and `.key`: copy both and `ca.crt` to the node."""
    if not is_name(node):
        raise CertificateError(f"{node!r} is no name of a node: a-z, 0-9, - and . only")
    pair = Pair(folder / "nodes" / f"{node}.crt", folder / "nodes" / f"{node}.key")
    ca = _loaded(ensure_ca(folder))
    if not _good(pair, ca.certificate, []):
        _write(pair, issuing.issue(ca, NODE_PREFIX + node, issuing.CLIENT, LIFE, groups=[NODES_GROUP]))
    return pair


def _loaded(pair: Pair) -> Issued:
    return Issued(_private_key(pair.key), _certificate(pair.certificate))


def _good(pair: Pair, ca: x509.Certificate, names: list[x509.GeneralName]) -> bool:
    if not pair.certificate.exists() or not pair.key.exists():
        return False
    certificate = _certificate(pair.certificate)
    if certificate.not_valid_after_utc - RENEW_BEFORE < datetime.now(UTC):
        return False
    try:
        certificate.verify_directly_issued_by(ca)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value if names else ()
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(names) <= set(held) and _private_key(pair.key).public_key() == certificate.public_key()


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"certificate {path}: {error}") from error


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"key {path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"key {path}: not an elliptic-curve key")
    return key


def _write(pair: Pair, made: Issued) -> None:
    pair.certificate.parent.mkdir(parents=True, exist_ok=True)
    # The key first: whoever finds the certificate finds its key too.
    _replace(pair.key, made.key_pem, 0o600)
    _replace(pair.certificate, made.certificate_pem, 0o644)
    log.info("certificate made file=%s until=%s", pair.certificate, made.certificate.not_valid_after_utc.date())


def _replace(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def main(arguments: Iterable[str] | None = None) -> None:
    """Make the certificates of a folder from a shell."""
    parser = argparse.ArgumentParser(prog="python -m cloud.certificates", description="Make the link's certificates.")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--host", action="append", default=[], help="a name or address nodes reach cloudcore by")
    parser.add_argument("--node", action="append", default=[], help="a node that gets a client certificate")
    options = parser.parse_args(None if arguments is None else list(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        ensure_ca(options.folder)
        if options.host:
            ensure_server(options.folder, options.host)
        for node in options.node:
            ensure_node(options.folder, node)
    except (CertificateError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
