"""Secrets as they lie on disk: encrypted and authenticated with a key of this node, by what Python itself brings.

    sealed = version (1 byte) | nonce (16) | ciphertext | tag (32)

The keystream is SHAKE-256 of key and nonce (a sponge as a stream cipher), the tag HMAC-SHA-256 of name, nonce and ciphertext;
each with a key of its own, derived from the node's. The name goes into the tag: one Secret cannot be passed off as another. Why
not a library: docs/decisions. Whoever can read the key's file can read the Secrets.
"""

import hashlib
import hmac
import os
from pathlib import Path

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 16, 32
_VERSION = b"\x01"


class SealError(Exception):
    """What should be a sealed Secret was not sealed with this key under this name, or was changed since."""


class Seal:
    """One node's key."""

    def __init__(self, key: bytes) -> None:
        """`key` is `KEY_BYTES` long, and random."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        self._cipher_key = hmac.digest(key, b"hedgerow: encryption of secrets", "sha256")
        self._tag_key = hmac.digest(key, b"hedgerow: authentication of secrets", "sha256")

    def seal(self, name: str, content: bytes) -> bytes:
        """The content as it may be written to disk."""
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._xor(nonce, content)
        return _VERSION + nonce + ciphertext + self._tag(name, nonce, ciphertext)

    def open(self, name: str, sealed: bytes) -> bytes:
        """The content of what `seal` made for this name. Raises SealError."""
        if len(sealed) < 1 + NONCE_BYTES + TAG_BYTES or sealed[:1] != _VERSION:
            raise SealError(f"{name} is not sealed")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES : -TAG_BYTES]
        if not hmac.compare_digest(sealed[-TAG_BYTES:], self._tag(name, nonce, ciphertext)):
            raise SealError(f"{name} was sealed with another key, or changed since")
        return self._xor(nonce, ciphertext)

    def _xor(self, nonce: bytes, content: bytes) -> bytes:
        stream = hashlib.shake_256(self._cipher_key + nonce).digest(len(content))
        mixed = int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(len(content), "big")

    def _tag(self, name: str, nonce: bytes, ciphertext: bytes) -> bytes:
        about = name.encode()
        return hmac.digest(self._tag_key, len(about).to_bytes(4, "big") + about + nonce + ciphertext, "sha256")


def node_key(file: Path) -> bytes:
    """This node's key, made when there is none. Raises OSError, and ValueError for a file that is no key."""
    try:
        key = file.read_bytes()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        key, fresh = os.urandom(KEY_BYTES), file.with_name(file.name + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
            made.write(key)
            made.flush()
            os.fsync(made.fileno())
        fresh.replace(file)
    if len(key) != KEY_BYTES:
        raise ValueError(f"{file} holds {len(key)} bytes instead of a key of {KEY_BYTES}")
    return key
