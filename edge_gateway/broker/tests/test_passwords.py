"""Password hashes, our own and mosquitto's."""

import subprocess
from pathlib import Path

import pytest

from edge_gateway.broker.passwords import check_hash, hash_for_mosquitto, hash_password, verify_password
from edge_gateway.broker.tests.brokers import mosquitto_binary

HASH = hash_password("secret")
LISTED = hash_for_mosquitto("secret")
# Made by mosquitto_passwd 2.0.11 for the password "u1".
OF_MOSQUITTO = (
    "$7$101$I4CtFknOxWYpefHr$psb3+2cxWgyUid1xoBgwbkkjomgc8C+FhoQKv4Kk0qBym1Sc2Gw3h5B5sdpEjGzn7KSGojJ9N7c9kT0WDthZ7Q=="
)


@pytest.mark.parametrize("made", [HASH, LISTED])
def test_a_hash_proves_its_password_and_no_other(made: str) -> None:
    assert verify_password(b"secret", made)
    assert not verify_password(b"Secret", made)
    assert not verify_password(b"", made)


def test_each_hash_has_a_salt_of_its_own() -> None:
    assert hash_password("secret") != HASH
    assert hash_for_mosquitto("secret") != LISTED


def test_a_hash_of_mosquitto_proves_its_password() -> None:
    assert verify_password(b"u1", OF_MOSQUITTO)
    assert not verify_password(b"u2", OF_MOSQUITTO)


@pytest.mark.parametrize("form", ["-H sha512", "-H sha512-pbkdf2"])
def test_what_mosquitto_passwd_writes_today_is_read(tmp_path: Path, form: str) -> None:
    mosquitto_binary()
    file = tmp_path / "passwords"
    file.touch(mode=0o700)
    subprocess.run(["mosquitto_passwd", *form.split(), "-b", file, "me", "p:w$1"], check=True, timeout=10)
    name, _, made = file.read_text().strip().partition(":")
    assert name == "me"
    assert verify_password(b"p:w$1", made)
    assert not verify_password(b"p:w$2", made)


@pytest.mark.parametrize(
    "text",
    [
        *("", "secret", "scrypt$4096$8$1$x$y", "$5$x$y", "$7$x", "$6$AAAA$AAAA", "$7$101$AAAA$AAAA"),
        HASH.replace("$4096$", "$4095$"),
        HASH.replace("$4096$", "$1048576$"),
        HASH.replace("scrypt", "plain"),
        LISTED.replace("$10000$", "$100000000$"),
        LISTED.replace("$10000$", "$0$"),
    ],
)
def test_a_hash_that_is_none_lets_nobody_in(text: str) -> None:
    with pytest.raises(ValueError, match=r"hash|iterations|literal"):
        check_hash(text)
    assert not verify_password(b"secret", text)
