"""Questions a client may ask about itself: who am I, may I (authentication.k8s.io, authorization.k8s.io)."""

from collections.abc import Callable
from typing import Any

from cloud.apiserver.requests import Target

Review = Callable[[Target, Any], dict[str, Any]]
USER = {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
"""The one user there is: the bearer of the token."""


def find(target: Target) -> Review | None:
    """The review that lives at a path, or None."""
    return _REVIEWS.get((target.group, target.version, target.plural)) if not target.name else None


def _self_subject(target: Target, body: Any) -> dict[str, Any]:
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": f"{target.group}/{target.version}",
        "metadata": {"creationTimestamp": None},
        "status": {"userInfo": USER},
    }


def _self_access(target: Target, body: Any) -> dict[str, Any]:
    spec = body.get("spec", {}) if isinstance(body, dict) else {}
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": f"{target.group}/{target.version}",
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": {"allowed": True, "reason": "the bearer of the token may do everything"},
    }


_REVIEWS: dict[tuple[str, str, str], Review] = {
    ("authentication.k8s.io", "v1", "selfsubjectreviews"): _self_subject,
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"): _self_access,
}
