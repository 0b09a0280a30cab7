"""Errors of the API and the `Status` bodies that carry them.

`ApiError` is the one base class of this package's errors: whatever a caller did wrong, or found, travels as one of these from
the core to the HTTP shell, which answers `error.code` with `error.body()`. Reasons and messages are those of kube-apiserver
(k8s.io/apimachinery/pkg/api/errors), since clients match on both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with one field; `reason` is a `CauseType` of the API such as "FieldValueInvalid"."""

    reason: str
    message: str
    field: str

    def text(self) -> str:
        """The cause as it stands in the message of a Status."""
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """An answer other than yes. Raised by the core, sent as a Status by the shell."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}

    def body(self) -> dict[str, Any]:
        """The Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        return status | {"code": self.code}


def success(name: str, group: str, resource: str, uid: str) -> dict[str, Any]:
    """The Status of a deletion that is complete."""
    details = {"name": name, "group": group, "kind": resource, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def qualified(resource: str, group: str) -> str:
    """`devices.devices.kubeedge.io`, or `pods` for the core group: how messages name a resource or a kind."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def not_found(resource: str, group: str, name: str) -> ApiError:
    """404: no such object."""
    return ApiError(
        404, "NotFound", f'{qualified(resource, group)} "{name}" not found', _details(name, group, resource)
    )


def no_such_path() -> ApiError:
    """404: nothing is served at this path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(
        409, "AlreadyExists", f'{qualified(resource, group)} "{name}" already exists', _details(name, group, resource)
    )


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    """409: a precondition (resourceVersion, uid) does not hold."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(name, group, resource))


def modified(resource: str, group: str, name: str) -> ApiError:
    """409: optimistic concurrency; the caller reads again and repeats its change."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, group, name, why)


def apply_conflict(message: str, causes: Sequence[Cause]) -> ApiError:
    """409: others own fields with other values than those applied."""
    return ApiError(409, "Conflict", message, _causes(causes))


def forbidden(resource: str, group: str, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403: not allowed to this user, or to nobody in this state; the name is "" of a collection."""
    details = _details(name, group, resource) | _causes(causes)
    what = f'{qualified(resource, group)} "{name}"' if name else qualified(resource, group)
    return ApiError(403, "Forbidden", f"{what} is forbidden: {why}", details)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks its schema or the rules of its kind."""
    texts = list(dict.fromkeys(cause.text() for cause in causes))
    listed = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(name, group, kind) | _causes(causes)
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {listed}', details)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be read."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no credentials, or wrong ones."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405: the resource has no such verb."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(offered: str) -> ApiError:
    """406: no media type that both sides know."""
    return ApiError(406, "NotAcceptable", f"only the following media types are accepted: {offered}")


def misfit(form: str, many: bool) -> ApiError:
    """406: the form asked for is one object's, and there are many; or the other way round."""
    return ApiError(
        406, "NotAcceptable", f"you requested {form}, but the requested object is {'' if many else 'not '}a list"
    )


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    """415: the body's media type cannot be read here."""
    offered = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {offered}"
    return ApiError(415, "UnsupportedMediaType", message)


def expired(message: str, continue_token: str = "") -> ApiError:
    """410: the version asked for is no longer kept; list again."""
    return ApiError(410, "Expired", message, metadata={"continue": continue_token} if continue_token else {})


def too_old(asked: int, oldest: int) -> ApiError:
    """410 of a watch that starts before the window of kept events."""
    return expired(f"too old resource version: {asked} ({oldest})")


def too_large_version(asked: int, current: int) -> ApiError:
    """504: a version this server has not reached; the client tries again."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(
        504,
        "Timeout",
        f"Too large resource version: {asked}, current: {current}",
        {"causes": [cause], "retryAfterSeconds": 1},
    )


def too_large_body(limit: int) -> ApiError:
    """413: a body over the limit, in bytes."""
    return too_large(f"limit is {limit}")


def too_large(why: str) -> ApiError:
    """413: a request whose outcome is over a limit."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")


def too_many_requests(retry_after_s: int) -> ApiError:
    """429: the store's queue is full."""
    message = "the server has received too many requests and has asked us to try again later"
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_s})


def insufficient_storage(message: str) -> ApiError:
    """507: the disk is full. Reads go on; a write works again when there is room."""
    return ApiError(507, "InsufficientStorage", message)


def internal(message: str) -> ApiError:
    """500: this server's own fault."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def _causes(causes: Sequence[Cause]) -> dict[str, Any]:
    if not causes:
        return {}
    return {"causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]}
