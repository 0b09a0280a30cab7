"""Secrets on disk: unreadable without the key, and not to be changed or exchanged unnoticed."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gateway.sealing import KEY_BYTES, Seal, SealError, node_key

SEAL = Seal(bytes(range(KEY_BYTES)))
NAME = "default/secret/password"


@given(st.binary(max_size=2000))
def test_what_was_sealed_can_be_opened(content: bytes) -> None:
    assert SEAL.open(NAME, SEAL.seal(NAME, content)) == content


def test_nothing_of_a_secret_shows_and_the_same_twice_looks_different() -> None:
    content = b"hunter2-hunter2-hunter2"
    one, two = SEAL.seal(NAME, content), SEAL.seal(NAME, content)
    assert b"hunter2" not in one
    assert one != two


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_byte_that_was_changed_anywhere_is_noticed(at: int) -> None:
    sealed = bytearray(SEAL.seal(NAME, b"0123456789ab"))
    sealed[at] ^= 1
    with pytest.raises(SealError):
        SEAL.open(NAME, bytes(sealed))


def test_one_secret_cannot_be_passed_off_as_another() -> None:
    with pytest.raises(SealError, match="default/secret/other was sealed with another key"):
        SEAL.open("default/secret/other", SEAL.seal(NAME, b"x"))


def test_another_nodes_key_does_not_open_it() -> None:
    with pytest.raises(SealError):
        Seal(bytes(KEY_BYTES)).open(NAME, SEAL.seal(NAME, b"x"))


@pytest.mark.parametrize("content", [b"", b"\x01", b'{"kind":"Secret"}', b"\x02" + bytes(100)])
def test_what_was_never_sealed_is_refused(content: bytes) -> None:
    with pytest.raises(SealError):
        SEAL.open(NAME, content)


def test_a_node_keeps_its_key_and_nobody_else_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "pki" / "secrets.key"
    key = node_key(file)
    assert node_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert node_key(tmp_path / "other.key") != key


def test_a_file_that_is_no_key_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    file.write_bytes(b"short")
    with pytest.raises(ValueError, match="holds 5 bytes"):
        node_key(file)
    assert file.read_bytes() == b"short"
