"""The server's own certificate authority, and the certificates it makes for the server and for clients.

All of it lives in the data folder, readable by its owner only. The server never imports this; where
something is to be made, it runs `python -m cloud.apiserver.pki FOLDER NAME...`.
"""

import ipaddress
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.apiserver.identity import ClientCertificate, note, write_private

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
CLIENT_LIFE = timedelta(days=365)

_BACKDATED = timedelta(hours=1)
"""Certificates start in the past, for clients whose clock is behind."""


def make_server(folder: Path, names: list[str]) -> None:
    """Make a new server certificate for these names, of the folder's CA, which is made when there is none."""
    pki = folder / "pki"
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key, ca = _ensure_ca(pki)
    made = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hedgerow-apiserver")])
    builder = _leaf(_builder(subject, ca.subject, made, SERVER_LIFE), ca_key, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    write_private(pki / "server.key", _pem(made))
    write_private(pki / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
    note(pki, names, certificate.not_valid_after_utc)


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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


if __name__ == "__main__":
    try:
        make_server(Path(sys.argv[1]), sys.argv[2:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
