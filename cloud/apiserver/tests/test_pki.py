"""Certificates in the data folder, and kubeconfigs."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.apiserver import identity, pki


def names(shown: identity.Identity) -> set[str]:
    certificate = x509.load_pem_x509_certificate(shown.certificate.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_an_identity_is_made_once_and_used_again(tmp_path: Path) -> None:
    first = identity.ensure(tmp_path)
    certificate = first.certificate.read_bytes()
    again = identity.ensure(tmp_path)
    assert again == first
    assert again.certificate.read_bytes() == certificate
    assert {"localhost", "127.0.0.1", "::1"} <= names(first)


def test_another_host_makes_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = identity.ensure(tmp_path)
    second = identity.ensure(tmp_path, ["gateway.local", "10.0.0.7"])
    assert {"gateway.local", "10.0.0.7"} <= names(second)
    assert second.ca_pem == first.ca_pem


def test_a_broken_certificate_is_made_anew(tmp_path: Path) -> None:
    first = identity.ensure(tmp_path)
    first.certificate.write_bytes(b"torn")
    assert "localhost" in names(identity.ensure(tmp_path))


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    shown = identity.ensure(tmp_path)
    for path in (shown.key, tmp_path / "pki" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


def test_a_client_certificate_names_its_user_and_groups_and_is_of_the_authority(tmp_path: Path) -> None:
    ca = x509.load_pem_x509_certificate(identity.ensure(tmp_path).ca_pem)
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
    config = yaml.safe_load(identity.kubeconfig("https://h:1", b"ca", "eva", "t0ken"))
    assert config["users"] == [{"name": "eva", "user": {"token": "t0ken"}}]
    config = yaml.safe_load(identity.kubeconfig("https://h:1", b"ca", "eva", identity.ClientCertificate(b"c", b"k")))
    assert config["users"][0]["user"] == {"client-certificate-data": "Yw==", "client-key-data": "aw=="}


def test_whoever_serves_never_loads_what_makes_certificates(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from cloud.apiserver import identity, server; "
        f"identity.ensure(pathlib.Path({str(tmp_path)!r}), ['h.example']).ssl_context(); "
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_certificate_that_ends_soon_is_made_anew(tmp_path: Path) -> None:
    first = identity.ensure(tmp_path).certificate.read_bytes()
    record = tmp_path / "pki" / "server.json"
    noted = json.loads(record.read_text())
    assert datetime.fromisoformat(noted["until"]) > datetime.now(UTC) + timedelta(days=300)
    for days, kept in ((31, True), (29, False)):
        noted["until"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        record.write_text(json.dumps(noted))
        assert (identity.ensure(tmp_path).certificate.read_bytes() == first) is kept


def test_a_certificate_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("no folder")
    with pytest.raises(OSError, match="no certificate made"):
        identity.ensure(tmp_path)
