"""Tokens and what they let one do."""

import base64
from pathlib import Path

import pytest

from edge_gateway.local_api import token_files
from edge_gateway.local_api.access import AccountsError, Rights, parse
from edge_gateway.local_api.token_files import TokenFile


def test_a_token_is_known_by_bearer_and_as_a_password_and_kept_as_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = token_files.issue(file, "hmi", "operator", False)
    known = TokenFile(file)
    basic = base64.b64encode(f"anyone:{token}".encode()).decode()
    assert known.rights(f"Bearer {token}") == known.rights(f"basic {basic}") == Rights("hmi", True, False)
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Basic !", "Basic eDp5", "Digest x", "Bearer " + "x" * 9999]
)
def test_nobody_else_is_known(tmp_path: Path, header: str) -> None:
    file = tmp_path / "tokens.json"
    assert TokenFile(file).rights(header) is None
    token_files.issue(file, "hmi", "operator", False)
    assert TokenFile(file).rights(header) is None


def test_a_new_or_revoked_token_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    known = TokenFile(file)
    old = token_files.issue(file, "hmi", "viewer", True)
    assert known.rights(f"Bearer {old}") == Rights("hmi", False, True)
    new = token_files.issue(file, "hmi", "operator", False)
    assert known.rights(f"Bearer {old}") is None
    assert known.rights(f"Bearer {new}") == Rights("hmi", True, False)
    assert token_files.revoke(file, "hmi")
    assert not token_files.revoke(file, "hmi")
    assert known.rights(f"Bearer {new}") is None


def test_a_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tokens.json"
    token = token_files.issue(file, "hmi", "viewer", False)
    known = TokenFile(file)
    assert known.rights(f"Bearer {token}") is not None
    file.write_text("{")
    assert known.rights(f"Bearer {token}") is None
    assert "tokens cannot be read" in caplog.text
    with pytest.raises(AccountsError):
        parse(b'[{"name": "x"}]')
