"""Where a definition says that the numbers of the scale subresource are, in objects of its kind."""

from typing import Any, NamedTuple

from cloud.apiserver import fields
from cloud.apiserver.status import Cause

Names = tuple[str, ...]


class ScalePaths(NamedTuple):
    """The names from an object's root to its numbers."""

    spec_replicas: Names
    status_replicas: Names
    selector: Names
    """Empty when there is none."""


def of_definition(scale: dict[str, Any] | None) -> ScalePaths | None:
    """The paths in `subresources.scale` of a valid definition."""
    if scale is None:
        return None
    spec, status, selector = (
        str(scale.get(key) or "") for key in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    )
    return ScalePaths(_names(spec), _names(status), _names(selector))


def validate(path: str, scale: Any) -> list[Cause]:
    """What is wrong with `subresources.scale`."""
    if scale is None:
        return []
    causes: list[Cause] = []
    for key, roots in (
        ("specReplicasPath", (".spec",)),
        ("statusReplicasPath", (".status",)),
        ("labelSelectorPath", (".spec", ".status")),
    ):
        value = scale.get(key)
        if not value:
            if key != "labelSelectorPath":
                causes.append(fields.required(f"{path}.{key}"))
        elif not isinstance(value, str) or "[" in value:
            causes.append(fields.invalid(f"{path}.{key}", value, "should be a json path without array notation"))
        elif not value.startswith(tuple(f"{root}." for root in roots)):
            why = f"should be a json path under {' or '.join(roots)}"
            causes.append(fields.invalid(f"{path}.{key}", value, why))
    return causes


def _names(path: str) -> Names:
    return tuple(name for name in path.split(".") if name)
