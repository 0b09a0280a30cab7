"""Keys that sign firmware: ECDSA on P-256 with SHA-256, as boards verify it. The only place here that imports `cryptography`.

A private key is a PEM file, readable by its owner alone; the public key beside it, `<file>.pub`, is x and y in hex, 128
digits: what goes onto the boards.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from device_fw.tools.errors import FirmwareError

_HASH = ec.ECDSA(hashes.SHA256())


class SigningError(FirmwareError):
    """A key cannot be read or written; the text names the file."""


class SigningKey:
    """A private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        """x and y of the public key, 32 bytes each."""
        numbers = self._key.public_key().public_numbers()
        return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")

    def sign(self, data: bytes) -> bytes:
        """r and s of the signature, 32 bytes each."""
        r, s = decode_dss_signature(self._key.sign(data, _HASH))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def new_key() -> SigningKey:
    """A new key, in memory only."""
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def generate(path: Path) -> SigningKey:
    """Make a key, and write `path` and `<path>.pub`. FirmwareError when either is there, or cannot be written."""
    made = new_key()
    pem = made._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(pem)
        with open(_public_path(path), "x") as file:
            file.write(made.public.hex() + "\n")
    except FileExistsError as error:
        raise SigningError(
            f"{error.filename} is there already: boards that trust it would be lost if it were replaced"
        ) from error
    except OSError as error:
        raise SigningError(f"cannot write {error.filename}: {error.strerror}") from error
    return made


def load(path: Path) -> SigningKey:
    """Read a private key. FirmwareError when it is none, or of another curve."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SigningError(f"cannot read the key {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise SigningError(f"{path} is no private key in PEM without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SigningError(f"{path} is no key on the curve P-256")
    return SigningKey(key)


def load_public(path: Path) -> bytes:
    """Read a `.pub` file: x and y, 32 bytes each. FirmwareError when it is none."""
    try:
        public = bytes.fromhex(path.read_text("ascii").strip())
        _point(public)
    except OSError as error:
        raise SigningError(f"cannot read the key {path}: {error.strerror}") from error
    except ValueError as error:
        raise SigningError(f"{path} is no public key: 128 hex digits, a point on P-256") from error
    return public


def verified(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the owner of `public` signed this."""
    if len(signature) != 64:
        return False
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        _point(public).verify(der, data, _HASH)
    except InvalidSignature:
        return False
    return True


def _point(public: bytes) -> ec.EllipticCurvePublicKey:
    if len(public) != 64:
        raise ValueError("not 64 bytes")
    x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _public_path(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
