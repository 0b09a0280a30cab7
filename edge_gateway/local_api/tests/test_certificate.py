import ssl
import subprocess
from pathlib import Path

import pytest

from edge_gateway.local_api import certificate
from edge_gateway.local_api.certificate import CertificateError, ensure, public


def subject_names(file: Path) -> str:
    shown = ["openssl", "x509", "-in", str(file), "-noout", "-text"]
    return subprocess.run(shown, capture_output=True, text=True, timeout=30, check=True).stdout


def test_it_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "pki" / "api.pem"
    ensure(file)
    first = file.read_bytes()
    ensure(file)
    assert file.read_bytes() == first
    assert file.stat().st_mode & 0o777 == 0o600
    certificate = file.with_suffix(".crt")
    assert sorted(file.parent.iterdir()) == [certificate, file], "nothing else is left of its making"
    assert certificate.read_bytes() == public(file)
    for name in ("127.0.0.1", "host.containers.internal"):
        assert name in subject_names(file)


def test_one_that_ends_soon_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "api.pem"
    monkeypatch.setattr(certificate, "DAYS", 30)
    ensure(file)
    first = file.read_bytes()
    ensure(file)
    assert file.read_bytes() != first


def test_what_is_shown_has_no_key(tmp_path: Path) -> None:
    file = tmp_path / "api.pem"
    ensure(file)
    shown = public(file)
    assert b"PRIVATE" in file.read_bytes()
    assert b"PRIVATE" not in shown
    ssl.create_default_context(cadata=shown.decode())
    file.write_text("nothing")
    with pytest.raises(CertificateError, match="has no certificate"):
        public(file)


def test_without_openssl_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "api.pem"
    ensure(file)
    before = file.read_bytes()
    monkeypatch.setenv("PATH", str(tmp_path))
    ensure(file)
    assert file.read_bytes() == before, "the one that is there does"
    with pytest.raises(CertificateError, match="needs the program openssl"):
        ensure(tmp_path / "another.pem")
