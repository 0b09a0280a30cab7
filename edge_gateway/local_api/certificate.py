"""The certificate that the local API's port shows: made here, by the openssl program, for nobody but clients of this machine.

It is its own authority, as clients are given it beside their token. A library for it would cost the gateway 9 MB for ever. Key
and certificate are in one file, so that they are never of different makes; beside it is the certificate alone, for clients.
"""

import os
import subprocess
from pathlib import Path

from edge_gateway.local_api import LocalApiError

NAMES = "IP:127.0.0.1,DNS:localhost,DNS:host.containers.internal,DNS:kubernetes.default.svc"
"""Under which the gateway is reached: by the machine, and by containers with a network of their own."""
DAYS = 36500
"""So many that one made before a machine without a battery knows the time, in 1970, is good today."""
_RENEW_S = 90 * 86400
_DEADLINE_S = 60.0
_BEGIN = "-----BEGIN CERTIFICATE-----"
_SETTINGS = f"""
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Hedgerow's local API
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = {NAMES}
"""


class CertificateError(LocalApiError):
    """There is no certificate, and none can be made."""


def ensure(file: Path) -> None:
    """Have key and certificate in a file, PEM; made where there are none, and anew before they end. Raises CertificateError."""
    if file.exists() and not _ends_soon(file):
        return
    settings, key, certificate, fresh = (file.with_suffix(f".{name}") for name in ("cnf", "key", "crt", "new"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(_SETTINGS)
        for private in (key, fresh):
            private.unlink(missing_ok=True)
            os.close(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(DAYS))
        files = ("-config", str(settings), "-keyout", str(key), "-out", str(certificate))
        why = _openssl("req", "-x509", *curve, *files)
        if why is not None:
            raise CertificateError(f"openssl makes no certificate for the local API: {why}")
        fresh.write_bytes(key.read_bytes() + certificate.read_bytes())
        fresh.replace(file)
        for left in (settings, key):
            left.unlink()
    except OSError as error:
        raise CertificateError(f"the local API's certificate cannot be written: {error}") from error


def public(file: Path) -> bytes:
    """The certificate alone, PEM. Raises CertificateError."""
    try:
        _, found, after = file.read_text().partition(_BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(f"the local API's certificate cannot be read: {error}") from error
    if not found:
        raise CertificateError(f"{file} has no certificate: remove it, and another is made")
    return (found + after).encode()


def _ends_soon(file: Path) -> bool:
    try:
        return _openssl("x509", "-in", str(file), "-noout", "-checkend", str(_RENEW_S)) is not None
    except CertificateError:  # the program is gone: what there is may do
        return False


def _openssl(*words: str) -> str | None:
    """Why it fails, or None."""
    try:
        done = subprocess.run(
            ["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=_DEADLINE_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = f"the local API's port needs the program openssl, for its certificate: {error}; or say `port: null`"
        raise CertificateError(why) from error
    said = done.stderr.decode(errors="replace").strip()[-300:]
    return None if done.returncode == 0 else said or f"code {done.returncode}"
