"""`kubectl logs` on the gateway itself: which log is asked for. A core."""

from typing import Any

import msgspec

from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.requests import Target
from edgewire.streams import LogRequest

_FLAGS = ("follow", "previous", "timestamps")
_NUMBERS = ("tailLines", "sinceSeconds", "limitBytes")


def request(target: Target, containers: list[str], query: dict[str, str]) -> dict[str, Any]:
    """The `LogRequest`, as JSON; `containers` are those of the pod, of which a single one need not be named. Raises Refusal."""
    container = query.get("container", "")
    if not container and len(containers) != 1:
        names = " ".join(containers)
        raise Refusal(400, f"a container name must be specified for pod {target.name}, choose one of: [{names}]")
    fields: dict[str, Any] = {"namespace": target.namespace, "pod": target.name}
    fields["container"] = container or containers[0]
    fields |= {name: query[name] in ("true", "1") for name in _FLAGS if name in query}
    try:
        fields |= {name: int(query[name]) for name in _NUMBERS if query.get(name)}
    except ValueError as error:
        raise Refusal(400, f"{', '.join(_NUMBERS)} are numbers") from error
    if "sinceTime" in query:
        fields["sinceTime"] = query["sinceTime"]
    try:
        asked = msgspec.convert(fields, LogRequest)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from error
    made: dict[str, Any] = msgspec.to_builtins(asked)
    return made
