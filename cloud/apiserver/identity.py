"""What the server shows and asks for: its certificate, whose clients it takes, and kubeconfigs that name both.

Certificates are kept in the data folder and used again at the next start; the server's is made anew when it ends within a month,
is not whole, or does not name every host asked for. `pki/server.json` says what was made, so that nothing has to be parsed.
"""

import base64
import contextlib
import hashlib
import os
import ssl
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

MAKING_S = 60.0
"""Longest that making certificates may take."""
RENEW_BEFORE = timedelta(days=30)
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
"""Names every server certificate has."""

_FILES = ("ca.crt", "server.crt", "server.key", "kubelet-client.crt", "kubelet-client.key")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server shows."""

    ca_pem: bytes
    certificate: Path
    key: Path

    def ssl_context(self, client_ca: Path | None = None) -> ssl.SSLContext:
        """A context for the listening side, TLS 1.2 or newer. Clients may show certificates of the own CA, or of `client_ca`.

        Raises OSError when that cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.ca_pem.decode())
        if client_ca is not None:
            context.load_verify_locations(client_ca)
        return context


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client's certificate and private key, PEM."""

    certificate: bytes
    key: bytes


class _Record(Struct):
    """What was made: names and end of the server's certificate, and what is in the files."""

    names: list[str]
    until: datetime
    files: dict[str, str]
    """Name -> SHA-256."""


def ensure(folder: Path, hosts: Iterable[str] = ()) -> Identity:
    """The identity kept in a folder, completed with what is missing or stale. Raises OSError when that cannot be made."""
    kept = folder / "pki"
    names = sorted({*LOCAL_HOSTS, *hosts})
    if not _is_good(kept, names):
        # A process of its own, for `cryptography` would stay in this one: 9 MB.
        command = [sys.executable, "-m", "cloud.apiserver.pki", str(folder), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAKING_S)
        if done.returncode:
            raise OSError(f"no certificate made: {done.stderr.strip()}")
    return Identity((kept / "ca.crt").read_bytes(), kept / "server.crt", kept / "server.key")


def note(kept: Path, names: list[str], until: datetime) -> None:
    """Say what certificate was made, beside it."""
    write_private(kept / "server.json", msgspec.json.encode(_Record(names, until, _digests(kept))))


def _is_good(kept: Path, names: list[str]) -> bool:
    try:
        record = msgspec.json.decode((kept / "server.json").read_bytes(), type=_Record)
        whole = record.files == _digests(kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return whole and set(names) <= set(record.names) and record.until - datetime.now(UTC) > RENEW_BEFORE


def _digests(kept: Path) -> dict[str, str]:
    return {name: hashlib.sha256((kept / name).read_bytes()).hexdigest() for name in _FILES}


def kubeconfig(
    url: str, ca_pem: bytes, user: str, credential: ClientCertificate | str, context: str = "hedgerow"
) -> bytes:
    """A kubeconfig with one cluster, one user and one context; the credential is a certificate or a token."""
    if isinstance(credential, str):
        shown = {"token": credential}
    else:
        shown = {
            "client-certificate-data": base64.b64encode(credential.certificate).decode(),
            "client-key-data": base64.b64encode(credential.key).decode(),
        }
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca_pem).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hedgerow", "cluster": cluster}],
        "users": [{"name": user, "user": shown}],
        "contexts": [{"name": context, "context": {"cluster": "hedgerow", "user": user}}],
        "current-context": context,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place in one step, readable by its owner only. Raises OSError, and leaves nothing behind then."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> None:
    """Take a private file away, but keep its room on the disk for `put_back`. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(_aside(path))


def put_back(path: Path, content: bytes) -> None:
    """Put a private file in place in one step, where it can be in the room of the one set aside: the disk may be full.

    Raises OSError.
    """
    aside = _aside(path)
    try:
        with aside.open("r+b") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        write_private(path, content)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")
