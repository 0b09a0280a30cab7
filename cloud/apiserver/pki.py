"""The server's own certificate authority, the certificates it makes for the server and for clients, and kubeconfigs.

All of it lives in the data folder, readable by its owner only, and is used again at the next start; the server's certificate is
made anew when it runs out within a month or does not name every host asked for.
"""

import base64
import ipaddress
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
CLIENT_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
"""Names every server certificate has."""

_BACKDATED = timedelta(hours=1)
"""Certificates start in the past, for clients whose clock is behind."""


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


def ensure(folder: Path, hosts: Iterable[str] = ()) -> Identity:
    """The identity kept in a folder, completed with what is missing or stale."""
    pki = folder / "pki"
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = sorted({*LOCAL_HOSTS, *hosts})
    ca_key, ca = _ensure_ca(pki)
    certificate, key = pki / "server.crt", pki / "server.key"
    if not _is_good(certificate, key, ca, names):
        _make_server(certificate, key, ca, ca_key, names)
    return Identity(ca.public_bytes(serialization.Encoding.PEM), certificate, key)


def issue_client(folder: Path, name: str, groups: Iterable[str], life: timedelta = CLIENT_LIFE) -> ClientCertificate:
    """A new client certificate of the folder's CA: the name is its CN, each group an O. Raises OSError when there is no CA."""
    pki = folder / "pki"
    if not (pki / "ca.key").exists():
        raise FileNotFoundError(f"{pki / 'ca.key'} is missing: the server makes it at its first start")
    ca_key, ca = _ensure_ca(pki)
    made = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _leaf(_builder(subject, ca.subject, made, life), ca_key, ExtendedKeyUsageOID.CLIENT_AUTH)
    return ClientCertificate(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(made))


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
    """Put a file in place in one step, readable by its owner only."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _ensure_ca(pki: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    certificate, key = pki / "ca.crt", pki / "ca.key"
    if certificate.exists() and key.exists():
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if isinstance(loaded, ec.EllipticCurvePrivateKey):
            return loaded, x509.load_pem_x509_certificate(certificate.read_bytes())
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hedgerow-apiserver-ca")])
    builder = _builder(name, name, made, CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(made.public_key()), critical=False
    )
    ca = builder.sign(made, hashes.SHA256())
    write_private(key, _pem(made))
    write_private(certificate, ca.public_bytes(serialization.Encoding.PEM))
    return made, ca


def _make_server(
    certificate: Path, key: Path, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: list[str]
) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hedgerow-apiserver")])
    builder = _leaf(_builder(subject, ca.subject, made, SERVER_LIFE), ca_key, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    write_private(key, _pem(made))
    write_private(certificate, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _leaf(
    builder: x509.CertificateBuilder, ca_key: ec.EllipticCurvePrivateKey, purpose: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    """What the certificates of servers and clients have in common."""
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return builder.add_extension(issuer, critical=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_good(certificate: Path, key: Path, ca: x509.Certificate, names: list[str]) -> bool:
    if not certificate.exists() or not key.exists():
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    known = set(alternatives)
    fresh = found.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE
    return fresh and found.issuer == ca.subject and all(_general_name(name) in known for name in names)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
