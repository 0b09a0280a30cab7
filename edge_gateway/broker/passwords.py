"""Password hashes: the gateway's own form, and those of mosquitto's password files.

    scrypt$n$r$p$salt$hash      what `hash_password` makes, for the users' file
    $7$iterations$salt$hash     mosquitto 2: PBKDF2 with SHA-512
    $6$salt$hash                mosquitto 1: SHA-512 of password and salt, salted but fast to guess; mosquitto takes it still

Salt and hash are base64. Each form is taken wherever a hash is.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable

# 4 MiB for about 10 ms: a gateway has little memory, and device passwords are random, not chosen.
_COST, _BLOCK, _PARALLEL = 4096, 8, 1
_MAX_COST = 1 << 14
# As slow as the scrypt above; mosquitto's own default is 101 in version 2.0.
_ITERATIONS = 10_000
_MAX_ITERATIONS = 1_000_000
_SHA512_BYTES = 64


def hash_password(password: str) -> str:
    """A password as the users' file keeps it, with a salt of its own."""
    salt = secrets.token_bytes(12)
    key = hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32)
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), _text(salt), _text(key)))


def hash_for_mosquitto(password: str) -> str:
    """A password as mosquitto's password files keep it, with a salt of its own."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${_text(salt)}${_text(key)}"


def check_hash(password_hash: str) -> None:
    """Raise ValueError when this is no hash in one of the forms above."""
    _verifier(password_hash)


def verify_password(password: bytes, password_hash: str) -> bool:
    """Whether `password` is the one that was hashed; False also for a hash that is none."""
    try:
        derive, key = _verifier(password_hash)
    except ValueError:
        return False
    return hmac.compare_digest(derive(password), key)


def _verifier(password_hash: str) -> tuple[Callable[[bytes], bytes], bytes]:
    """How to hash a password likewise, and what must come out."""
    match password_hash.split("$"):
        case ["scrypt", cost, block, parallel, salt, key]:
            return _scrypt(int(cost), int(block), int(parallel), _bytes(salt), _bytes(key))
        case ["", "7", iterations, salt, key]:
            return _pbkdf2(int(iterations), _bytes(salt), _bytes(key))
        case ["", "6", salt, key]:
            found = _bytes(salt)
            return (lambda password: hashlib.sha512(password + found).digest()), _sha512(_bytes(key))
    raise ValueError("a password hash reads scrypt$n$r$p$salt$hash, or $7$iterations$salt$hash as mosquitto's")


def _scrypt(cost: int, block: int, parallel: int, salt: bytes, key: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    if not (2 <= cost <= _MAX_COST and cost & cost - 1 == 0 and block == 8 and 1 <= parallel <= 4 and len(key) == 32):
        raise ValueError("a password hash has n a power of two up to 16384, r 8, p 1 to 4 and a hash of 32 bytes")
    return (lambda password: hashlib.scrypt(password, salt=salt, n=cost, r=block, p=parallel, dklen=32)), key


def _pbkdf2(iterations: int, salt: bytes, key: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    if not 1 <= iterations <= _MAX_ITERATIONS:
        raise ValueError(f"a password hash has 1 to {_MAX_ITERATIONS} iterations")
    return (lambda password: hashlib.pbkdf2_hmac("sha512", password, salt, iterations)), _sha512(key)


def _sha512(key: bytes) -> bytes:
    if len(key) != _SHA512_BYTES:
        raise ValueError(f"a password hash of this kind has {_SHA512_BYTES} bytes")
    return key


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("a password hash's salt and hash are base64") from error
