"""What a request is answered that cannot be fulfilled: a Kubernetes Status, with words that say what to do."""

from typing import Any

from edge_gateway.local_api import LocalApiError

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "Timeout",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


class Refusal(LocalApiError):
    """A request is refused with an HTTP status; the text is for its sender."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def status(self) -> dict[str, Any]:
        """The body of the answer."""
        made = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": _REASONS.get(self.code, "InternalError"),
            "code": self.code,
        }
        return made if self.code != 422 else {**made, "details": {"causes": [self._cause()]}}

    def _cause(self) -> dict[str, str]:
        """Of an invalid object; older kubectls show nothing else."""
        field, _, message = str(self).partition(": ")
        if " " in field or not message:
            field, message = "spec", str(self)
        return {"reason": "FieldValueInvalid", "field": field, "message": message}


def not_found(plural: str, group: str, name: str) -> Refusal:
    """There is no such object, in kube-apiserver's words."""
    return Refusal(404, f'{plural}{"." if group else ""}{group} "{name}" not found')
