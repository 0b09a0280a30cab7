"""Certificates: made once, renewed when they must be, and good enough for a strict peer."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from cloud import certificates
from cloud.certificates import CertificateError, ensure_ca, ensure_node, ensure_server


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_made_once(tmp_path: Path) -> None:
    ensure_server(tmp_path, ["localhost", "127.0.0.1"])
    ensure_node(tmp_path, "edge1")
    made = contents(tmp_path)
    ensure_ca(tmp_path)
    ensure_server(tmp_path, ["127.0.0.1"])
    ensure_node(tmp_path, "edge1")
    assert contents(tmp_path) == made
    assert {str(path.relative_to(tmp_path)) for path in made} == {
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
        "nodes/edge1.crt",
        "nodes/edge1.key",
    }


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    ensure_server(tmp_path, ["localhost"])
    ensure_node(tmp_path, "edge1")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.key")} == {0o600}


def test_another_host_gets_another_server_certificate(tmp_path: Path) -> None:
    first = ensure_server(tmp_path, ["localhost"]).certificate.read_bytes()
    assert ensure_server(tmp_path, ["localhost", "cloud.example.org"]).certificate.read_bytes() != first


def test_a_certificate_about_to_expire_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LIFE", timedelta(days=29))
    first = ensure_node(tmp_path, "edge1").certificate.read_bytes()
    monkeypatch.undo()
    assert ensure_node(tmp_path, "edge1").certificate.read_bytes() != first


def test_a_certificate_of_another_ca_is_replaced(tmp_path: Path) -> None:
    ensure_node(tmp_path / "a", "edge1")
    ensure_ca(tmp_path / "b")
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    old = (tmp_path / "a/nodes/edge1.crt").read_bytes()
    assert ensure_node(tmp_path / "a", "edge1").certificate.read_bytes() != old


def test_a_key_that_is_missing_or_anothers_is_replaced_with_its_certificate(tmp_path: Path) -> None:
    pair = ensure_node(tmp_path, "edge1")
    pair.key.write_bytes(ensure_node(tmp_path, "edge2").key.read_bytes())
    old = pair.certificate.read_bytes()
    assert ensure_node(tmp_path, "edge1").certificate.read_bytes() != old


@pytest.mark.parametrize("name", ["../edge", "Edge", "", "a b", "x" * 254])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CertificateError):
        ensure_node(tmp_path, name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    ensure_ca(tmp_path).certificate.write_text("nothing")
    with pytest.raises(CertificateError, match=r"ca\.crt"):
        ensure_node(tmp_path, "edge1")


def test_the_command_makes_all_files(tmp_path: Path) -> None:
    certificates.main([str(tmp_path), "--host", "localhost", "--node", "edge1", "--node", "edge2"])
    assert (tmp_path / "server.key").exists()
    assert (tmp_path / "nodes/edge2.crt").exists()


def test_a_strict_client_and_server_trust_each_other(tmp_path: Path) -> None:
    server_pair, node_pair, ca = (
        ensure_server(tmp_path, ["localhost"]),
        ensure_node(tmp_path, "edge1"),
        ensure_ca(tmp_path),
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, pair in ((server, server_pair), (client, node_pair)):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca.certificate)
        context.load_cert_chain(pair.certificate, pair.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for end in (one, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    subject = dict(pair[0] for pair in (other.getpeercert() or {})["subject"])  # type: ignore[misc]
    assert subject == {"organizationName": "system:nodes", "commonName": "system:node:edge1"}
