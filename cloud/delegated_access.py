"""Whether somebody with a token may see what a kubelet would show: the API server is asked, as kubelets ask it.

First who it is (TokenReview), then whether they may (SubjectAccessReview on `nodes/metrics` or `nodes/stats`). Answers are kept
for a while: metrics-server comes every fifteen seconds for each node.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cloud.objects import ResourceType
from cloud.writes import JSON, Answer, Request

log = logging.getLogger(__name__)

ALLOWED_S, REFUSED_S = 120.0, 30.0
"""How long an answer holds."""
KEPT = 1024
_TOKENS = ResourceType("/apis/authentication.k8s.io/v1", "tokenreviews")
_ACCESS = ResourceType("/apis/authorization.k8s.io/v1", "subjectaccessreviews")
Key = tuple[bytes, str, str]


class DelegatedAccess:
    """Of one cluster."""

    def __init__(self, send: Callable[[Request], Awaitable[Answer]], now: Callable[[], float]) -> None:
        """`send` makes a request of the API server; `now` is any monotonic clock, in seconds."""
        self._send = send
        self._now = now
        self._known: OrderedDict[Key, tuple[float, int]] = OrderedDict()

    async def check(self, token: str, node: str, subresource: str) -> int:
        """200 when who has the token may get that of the node; else 401, 403, or 500 where nobody could say."""
        key = hashlib.sha256(token.encode()).digest(), node, subresource
        known = self._known.get(key)
        if known is not None and known[0] > self._now():
            return known[1]
        status = await self._ask(token, node, subresource)
        if status != 500:
            self._known[key] = self._now() + (ALLOWED_S if status == 200 else REFUSED_S), status
            self._known.move_to_end(key)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return status

    async def _ask(self, token: str, node: str, subresource: str) -> int:
        who = await self._review(_TOKENS, "TokenReview", {"token": token})
        if who is None:
            return 500
        user = who.get("user") or {}
        if not who.get("authenticated") or not user.get("username"):
            return 401
        asked = {"verb": "get", "version": "v1", "resource": "nodes", "subresource": subresource, "name": node}
        spec = {"user": user["username"], "resourceAttributes": asked}
        spec |= {name: user[name] for name in ("uid", "groups", "extra") if user.get(name)}
        may = await self._review(_ACCESS, "SubjectAccessReview", spec)
        if may is None:
            return 500
        return 200 if may.get("allowed") is True else 403

    async def _review(self, type: ResourceType, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
        """The status of a review; None when it could not be had."""
        body = {"apiVersion": type.prefix.removeprefix("/apis/"), "kind": kind, "metadata": {}, "spec": spec}
        answer = await self._send(Request("POST", type.path(), msgspec.json.encode(body), JSON))
        try:
            found = msgspec.json.decode(answer.body, type=dict[str, Any]).get("status") if answer.ok else None
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            log.warning("= %s not answered status=%d reason=%r", kind, answer.status, answer.reason)
            return None
        return found
