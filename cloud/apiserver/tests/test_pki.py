"""Certificates, token and kubeconfig in the data folder."""

import stat
from pathlib import Path

import yaml
from cryptography import x509

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
    assert len(first.token) > 30


def test_another_host_makes_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    second = pki.ensure(tmp_path, ["gateway.local", "10.0.0.7"])
    assert {"gateway.local", "10.0.0.7"} <= names(second)
    assert (second.ca_pem, second.token) == (first.ca_pem, first.token)


def test_a_broken_certificate_is_made_anew(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    first.certificate.write_bytes(b"torn")
    assert "localhost" in names(pki.ensure(tmp_path))


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    identity = pki.ensure(tmp_path)
    kubeconfig = tmp_path / "kubeconfig"
    pki.write_kubeconfig(kubeconfig, "https://127.0.0.1:1", identity)
    for path in (kubeconfig, identity.key, tmp_path / "token", tmp_path / "pki" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = yaml.safe_load(kubeconfig.read_text())
    assert config["users"][0]["user"]["token"] == identity.token
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kubeconfig", "pki", "token"]
