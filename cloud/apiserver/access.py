"""What a user may do: admins everything, viewers read everything but Secrets, an edge node what `node_access` says, and
everybody with a credential asks what is served and who they are."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cloud.apiserver import node_access
from cloud.apiserver.attributes import READ, Attributes, forbidden
from cloud.apiserver.resources import Registry
from cloud.apiserver.roles import ADMIN, NODE, VIEWER, User
from cloud.apiserver.state import State
from cloud.apiserver.writes import Restriction

SELF_REVIEWS = {
    "authentication.k8s.io": ("selfsubjectreviews",),
    "authorization.k8s.io": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
}
PATHS = (
    "/",
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
)
"""Paths that are about the server itself; whoever is known may read them."""
_VIEWED = ("", "status", "scale", "log")
"""Subresources that only show."""


class Decision(NamedTuple):
    """Yes or no, and why."""

    allowed: bool
    reason: str = ""


class Access:
    """Decides by what is stored now."""

    def __init__(self, registry: Registry, state: State) -> None:
        self._registry = registry
        self._state = state

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether a user may do something."""
        role = user.role
        if role == ADMIN:
            return Decision(True)
        if not asked.resource:
            return Decision(asked.verb == "get" and _is_about_itself(asked.path))
        if asked.verb == "create" and asked.resource in SELF_REVIEWS.get(asked.group, ()):
            return Decision(True)
        if role == NODE:
            why = node_access.decide(user.node, asked, self._state)
            return Decision(why is None, why or "")
        return Decision(role == VIEWER and _may_view(asked))

    def check(self, user: User, asked: Attributes) -> None:
        """Raise ApiError 403 unless a user may do something."""
        decision = self.decide(user, asked)
        if not decision.allowed:
            raise forbidden(user.name, asked, decision.reason)

    def restriction(self, user: User) -> Restriction | None:
        """What the content of this user's writes has to pass, if anything."""
        if user.role != NODE:
            return None
        node = user.node
        return lambda storage, new, old: node_access.restrict(node, storage, new, old)

    def rules(self, user: User) -> dict[str, Any]:
        """The SubjectRulesReviewStatus. It is incomplete for a node: which objects these are depends on what is bound to it."""
        resources: list[dict[str, Any]] = [
            {"verbs": ["create"], "apiGroups": [group], "resources": list(plurals)}
            for group, plurals in SELF_REVIEWS.items()
        ]
        paths: list[dict[str, Any]] = [{"verbs": ["get"], "nonResourceURLs": list(PATHS)}]
        match user.role:
            case role if role == ADMIN:
                resources.insert(0, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
                paths.insert(0, {"verbs": ["*"], "nonResourceURLs": ["*"]})
            case role if role == NODE:
                resources += node_access.RULES
            case role if role == VIEWER:
                resources += self._viewed()
        incomplete = user.role == NODE
        return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete}

    def _viewed(self) -> Iterable[dict[str, Any]]:
        groups: dict[str, list[str]] = {}
        for resource in self._registry:
            if (resource.group, resource.plural) != ("", "secrets"):
                shown = sorted(resource.subresources & set(_VIEWED))
                groups.setdefault(resource.group, []).extend(
                    [resource.plural, *(f"{resource.plural}/{subresource}" for subresource in shown)]
                )
        return [
            {"verbs": list(READ), "apiGroups": [group], "resources": list(dict.fromkeys(plurals))}
            for group, plurals in groups.items()
        ]


def _may_view(asked: Attributes) -> bool:
    if asked.verb not in READ or asked.subresource not in _VIEWED:
        return False
    return asked.resource != "*" and not (asked.resource == "secrets" and asked.group in ("", "*"))


def _is_about_itself(path: str) -> bool:
    path = path.rstrip("/") or "/"
    return any(path == known or (known.endswith("*") and path.startswith(known[:-1])) for known in PATHS)
