"""A certificate authority for tests: the broker's certificate, clients' certificates, and such as nobody should accept."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Pair(NamedTuple):
    """The files of a certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """One CA, with its files in `folder`."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._builder(self._name, self._key)
        certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = certificate.add_extension(_SIGNS, critical=True)
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def server(self, file: str = "server", *, days: float = 1, host: str = HOST) -> Pair:
        """A certificate for a broker on 127.0.0.1 or at another address; with negative `days` one that has expired."""
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(host))])
        return self._issue(file, _named("broker"), SERVER_AUTH, names, days)

    def client(
        self, user: str, *, days: float = 1, purpose: x509.ObjectIdentifier = CLIENT_AUTH, named: bool = True
    ) -> Pair:
        """A client's certificate; with negative `days` one that has expired."""
        return self._issue(user.replace("/", "-"), _named(user) if named else x509.Name([]), purpose, None, days)

    def der(self) -> Path:
        """The CA's certificate in the form that boards read."""
        made = self.folder / "ca.der"
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        made.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        return made

    def _issue(
        self,
        file: str,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        days: float = 1,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key, days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        pair = Pair(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        pair.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        form = serialization.PrivateFormat.TraditionalOpenSSL
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return pair

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 1) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
        # Both identifiers: Python 3.13 asks for them (VERIFY_X509_STRICT).
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(issuer, critical=False)


def der(pair: Pair) -> Pair:
    """The same in the form that boards read."""
    made = Pair(pair.certificate.with_suffix(".crt.der"), pair.key.with_suffix(".key.der"))
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    made.key.write_bytes(key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption()))
    return made


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
