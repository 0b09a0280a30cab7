"""Certificates in the data folder, and kubeconfigs."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.apiserver import pki


def names(identity: pki.Identity) -> set[str]:
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_an_identity_is_made_once_and_used_again(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    certificate = first.certificate.read_bytes()
    again = pki.ensure(tmp_path)
    assert again == first
    assert again.certificate.read_bytes() == certificate
    assert {"localhost", "127.0.0.1", "::1"} <= names(first)


def test_another_host_makes_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    second = pki.ensure(tmp_path, ["gateway.local", "10.0.0.7"])
    assert {"gateway.local", "10.0.0.7"} <= names(second)
    assert second.ca_pem == first.ca_pem


def test_a_broken_certificate_is_made_anew(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    first.certificate.write_bytes(b"torn")
    assert "localhost" in names(pki.ensure(tmp_path))


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    identity = pki.ensure(tmp_path)
    for path in (identity.key, tmp_path / "pki" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


def test_a_client_certificate_names_its_user_and_groups_and_is_of_the_authority(tmp_path: Path) -> None:
    ca = x509.load_pem_x509_certificate(pki.ensure(tmp_path).ca_pem)
    issued = pki.issue_client(tmp_path, "eva", ["readers", "writers"], timedelta(days=2))
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    certificate.verify_directly_issued_by(ca)
    assert certificate.subject.rfc4514_string() == "CN=eva,O=writers,O=readers"
    assert timedelta(days=1) < certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=2, seconds=1)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_nobody_issues_certificates_where_no_server_was(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ca\.key is missing"):
        pki.issue_client(tmp_path, "eva", [])


def test_a_kubeconfig_carries_a_token_or_a_certificate() -> None:
    config = yaml.safe_load(pki.kubeconfig("https://h:1", b"ca", "eva", "t0ken"))
    assert config["users"] == [{"name": "eva", "user": {"token": "t0ken"}}]
    config = yaml.safe_load(pki.kubeconfig("https://h:1", b"ca", "eva", pki.ClientCertificate(b"c", b"k")))
    assert config["users"][0]["user"] == {"client-certificate-data": "Yw==", "client-key-data": "aw=="}
