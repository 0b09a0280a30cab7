"""X.509 certificates of an authority of our own: ECDSA P-256, with what RFC 5280, section 4.2 asks of authorities and leaves.

The link's certificates and those of the embedded Kubernetes API are made here; where their files lie, and when they are due, is
not known here.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

_BACKDATED = timedelta(hours=1)
"""Certificates start in the past, for peers whose clock is behind."""


class Issued(NamedTuple):
    """A certificate and its private key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key as unencrypted PKCS #8."""
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(*form)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def authority(name: str, life: timedelta) -> Issued:
    """A new certificate authority, which signs leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(called, called, key, life, signs_certificates=True)
    return Issued(key, builder.sign(key, hashes.SHA256()))


def issue(
    by: Issued,
    name: str,
    purpose: x509.ObjectIdentifier,
    life: timedelta,
    *,
    groups: Iterable[str] = (),
    hosts: Sequence[x509.GeneralName] = (),
) -> Issued:
    """A new certificate for `CLIENT` or `SERVER`: the name is its CN, each group an O, the hosts what a server is reached by."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, by.certificate.subject, key, life, signs_certificates=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    issuer = by.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
    builder = builder.add_extension(identifier, critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return Issued(key, builder.sign(by.key, hashes.SHA256()))


def general_name(host: str) -> x509.GeneralName:
    """A host as a certificate names it: an IP address where it is one, else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    life: timedelta,
    *,
    signs_certificates: bool,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    constraints = x509.BasicConstraints(ca=signs_certificates, path_length=0 if signs_certificates else None)
    usage = x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
