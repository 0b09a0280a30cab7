"""A request as authorization sees it: a verb and what it is for (k8s.io/apiserver/pkg/authorization/authorizer)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cloud.apiserver import status
from cloud.apiserver.requests import Query, Target, is_watch
from cloud.apiserver.status import ApiError

READ = ("get", "list", "watch")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for; a resource, or, where `resource` is "", a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    selected: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Fields that a list's selector holds to one value, such as `spec.nodeName`."""

    @property
    def what(self) -> str:
        """The resource with its subresource: `pods/status`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_request(method: str, path: str, target: Target | None, query: Query) -> Attributes:
    """The attributes of an HTTP request."""
    if target is None:
        return Attributes(verb="get" if method == "HEAD" else method.lower(), path=path)
    verb = _VERBS.get(method, "get")
    name, namespace = target.name, target.namespace
    selected: Mapping[str, str] = _NOTHING
    if verb == "get" and is_watch(query) and not target.subresource:
        verb = "watch"
    elif verb == "get" and not name:
        verb = "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    if not name and verb != "create":
        selected = selected_fields(query.get("fieldSelector", "").split(","))
        name = selected.get("metadata.name", "")
    if (target.group, target.plural) == ("", "namespaces") and target.name:
        namespace = target.name  # a namespace is in itself
    return Attributes(verb, target.group, target.plural, target.subresource, namespace, name, selected=selected)


def selected_fields(terms: Iterable[str]) -> dict[str, str]:
    """Field -> value of terms like `spec.nodeName=gw`."""
    equal = (term.replace("==", "=").split("=") for term in terms if "!=" not in term)
    return {parts[0].strip(): parts[1] for parts in equal if len(parts) == 2}


def forbidden(user: str, asked: Attributes, reason: str = "") -> ApiError:
    """403, in the API's words."""
    if not asked.resource:
        said = f'User "{user}" cannot {asked.verb} path "{asked.path}"'
        return ApiError(403, "Forbidden", f"forbidden: {_because(said, reason)}", {})
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    said = f'User "{user}" cannot {asked.verb} resource "{asked.what}" in API group "{asked.group}" {where}'
    return status.forbidden(asked.resource, asked.group, asked.name, _because(said, reason))


def _because(said: str, reason: str) -> str:
    return f"{said}: {reason}" if reason else said
