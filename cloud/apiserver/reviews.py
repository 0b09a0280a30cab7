"""Questions about users: who am I, may I, may they (authentication.k8s.io, authorization.k8s.io)."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from cloud.apiserver import attributes, status
from cloud.apiserver.access import Access
from cloud.apiserver.attributes import Attributes
from cloud.apiserver.requests import Target
from cloud.apiserver.roles import AUTHENTICATED, User
from cloud.apiserver.status import Cause

Review = Callable[[Target, Any, User, Access], dict[str, Any]]


class _Requirement(Struct):
    key: str = ""
    operator: str = ""
    values: list[str] = []


class _FieldSelector(Struct, rename="camel"):
    raw_selector: str = ""
    requirements: list[_Requirement] = []


class _ResourceAttributes(Struct, rename="camel"):
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: _FieldSelector = field(default_factory=_FieldSelector)


class _PathAttributes(Struct):
    path: str = ""
    verb: str = ""


class _Spec(Struct, rename="camel"):
    resource_attributes: _ResourceAttributes | None = None
    non_resource_attributes: _PathAttributes | None = None
    user: str = ""
    groups: list[str] = []
    namespace: str = ""


def find(target: Target) -> Review | None:
    """The review that lives at a path, or None."""
    found = _REVIEWS.get((target.group, target.version, target.plural))
    if found is None or target.name or bool(target.namespace) is not (target.plural == _LOCAL):
        return None
    return found


def _self_subject(target: Target, body: Any, user: User, access: Access) -> dict[str, Any]:
    return _answer(target, "SelfSubjectReview", body) | {"status": {"userInfo": user.info}}


def _self_access(target: Target, body: Any, user: User, access: Access) -> dict[str, Any]:
    kind = "SelfSubjectAccessReview"
    return _answer(target, kind, body) | {"status": _decision(kind, _spec(kind, body), user, access)}


def _self_rules(target: Target, body: Any, user: User, access: Access) -> dict[str, Any]:
    kind = "SelfSubjectRulesReview"
    if not _spec(kind, body).namespace:
        raise status.bad_request("no namespace on request")
    return _answer(target, kind, body) | {"status": access.rules(user)}


def _subject_access(target: Target, body: Any, user: User, access: Access) -> dict[str, Any]:
    kind = "LocalSubjectAccessReview" if target.plural == _LOCAL else "SubjectAccessReview"
    spec = _spec(kind, body)
    if not spec.user and not spec.groups:
        cause = Cause(
            "FieldValueInvalid", 'Invalid value: "": at least one of user or group must be specified', "spec.user"
        )
        raise status.invalid(kind, "authorization.k8s.io", "", [cause])
    known = [group for group in spec.groups if group != AUTHENTICATED]
    return _answer(target, kind, body) | {"status": _decision(kind, spec, User(spec.user, tuple(known)), access)}


def _answer(target: Target, kind: str, body: Any) -> dict[str, Any]:
    spec = body.get("spec") if isinstance(body, dict) else None
    answer = {
        "kind": kind,
        "apiVersion": f"{target.group}/{target.version}",
        "metadata": {"creationTimestamp": None},
    }
    return answer | ({"spec": spec} if spec is not None else {})


def _spec(kind: str, body: Any) -> _Spec:
    try:
        return msgspec.convert(body.get("spec") or {} if isinstance(body, dict) else body, _Spec)
    except msgspec.ValidationError as error:
        raise status.bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {error}') from error


def _decision(kind: str, spec: _Spec, user: User, access: Access) -> dict[str, Any]:
    resource, path = spec.resource_attributes, spec.non_resource_attributes
    if (resource is None) is (path is None):
        why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = Cause("FieldValueInvalid", why, "spec.resourceAttributes")
        raise status.invalid(kind, "authorization.k8s.io", "", [cause])
    if resource is not None:
        asked = _attributes(resource)
    else:
        assert path is not None
        asked = Attributes(path.verb, path=path.path)
    allowed, reason = access.decide(user, asked)
    # kubectl tells a denial from a lack of permission; the latter is what authorizers of the API mostly say.
    return {"allowed": allowed} | ({"reason": reason} if reason else {})


def _attributes(asked: _ResourceAttributes) -> Attributes:
    selected = attributes.selected_fields(asked.field_selector.raw_selector.split(","))
    for wanted in asked.field_selector.requirements:
        if wanted.operator == "In" and len(wanted.values) == 1:
            selected[wanted.key] = wanted.values[0]
    name = asked.name
    if not name and asked.verb != "create":
        name = selected.get("metadata.name", "")
    return Attributes(
        asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, name, selected=selected
    )


_LOCAL = "localsubjectaccessreviews"
_AUTHORIZATION = ("authorization.k8s.io", "v1")
_REVIEWS: dict[tuple[str, str, str], Review] = {
    ("authentication.k8s.io", "v1", "selfsubjectreviews"): _self_subject,
    (*_AUTHORIZATION, "selfsubjectaccessreviews"): _self_access,
    (*_AUTHORIZATION, "selfsubjectrulesreviews"): _self_rules,
    (*_AUTHORIZATION, "subjectaccessreviews"): _subject_access,
    (*_AUTHORIZATION, _LOCAL): _subject_access,
}
