"""Tokens of pods: JSON Web Tokens (RFC 7519) of this gateway, with the claims that a cluster's bound tokens have. A core.

Nothing is kept of them: they are signed (HMAC-SHA-256) with a key that follows from the node's, so they hold over restarts, and
name the one pod they are for. A token is the same for everybody who asks within one `SLOT_S`, and lives at least `LIFE_S`.
"""

import base64
import binascii
import hmac
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from edgewire.message import UNREADABLE

SLOT_S, LIFE_S = 1200, 3600
"""Seconds. A new one comes every 20 minutes, as clients of Kubernetes read theirs anew every minute or so."""
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()


class TokenPod(NamedTuple):
    """Whom a token is for."""

    namespace: str
    name: str
    uid: str


class _Named(Struct):
    name: str
    uid: str


class _Bound(Struct):
    namespace: str
    pod: _Named


class _Claims(Struct):
    iss: str
    sub: str
    iat: int
    exp: int
    bound: _Bound = field(name="kubernetes.io")


_claims = msgspec.json.Decoder(_Claims)
_encoder = msgspec.json.Encoder()


class PodTokens:
    """Of one gateway."""

    def __init__(self, key: bytes, node: str) -> None:
        """`key` is the node's."""
        self._key = hmac.digest(key, b"hedgerow: tokens of pods", "sha256")
        self._issuer = f"hedgerow/{node}"

    def issue(self, pod: TokenPod, now_s: float) -> str:
        """The token of a pod."""
        issued = int(now_s) // SLOT_S * SLOT_S
        bound = _Bound(pod.namespace, _Named(pod.name, pod.uid))
        subject = f"system:pod:{pod.namespace}:{pod.name}"
        claims = _Claims(self._issuer, subject, issued, issued + SLOT_S + LIFE_S, bound)
        signed = f"{_HEADER}.{_text(_encoder.encode(claims))}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str, now_s: float) -> TokenPod | None:
        """Whose a token is; None for one that this gateway did not make, or that is too old."""
        signed, _, signature = token.rpartition(".")
        header, _, content = signed.partition(".")
        if header != _HEADER or not hmac.compare_digest(self._signature(signed).encode(), signature.encode()):
            return None
        try:
            claims = _claims.decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        except (*UNREADABLE, binascii.Error):
            return None
        if claims.iss != self._issuer or claims.exp <= now_s:
            return None
        return TokenPod(claims.bound.namespace, claims.bound.pod.name, claims.bound.pod.uid)

    def _signature(self, signed: str) -> str:
        return _text(hmac.digest(self._key, signed.encode(), "sha256"))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
