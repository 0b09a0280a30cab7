"""Label selectors as objects have them: `matchLabels` and `matchExpressions` (k8s.io/apimachinery/pkg/apis/meta/v1)."""

from collections.abc import Iterator, Mapping
from typing import Any

from cloud.apiserver import fields
from cloud.apiserver.status import Cause

Object = dict[str, Any]
_NEGATIVE = {"NotIn": "notin", "In": "in"}


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is selected; an empty selector selects all."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_holds(requirement, labels) for requirement in selector.get("matchExpressions") or ())


def _holds(requirement: Object, labels: Mapping[str, str]) -> bool:
    key, values = requirement.get("key") or "", requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def text(selector: Object) -> str:
    """As a query parameter has it."""
    parts = [f"{name}={value}" for name, value in sorted((selector.get("matchLabels") or {}).items())]
    for requirement in selector.get("matchExpressions") or ():
        key = requirement.get("key") or ""
        match requirement.get("operator"):
            case "In" | "NotIn" as operator:
                parts.append(f"{key} {_NEGATIVE[operator]} ({','.join(sorted(requirement.get('values') or ()))})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def is_empty(selector: Object) -> bool:
    """Whether it says nothing."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def validate(path: str, selector: Object) -> Iterator[Cause]:
    """What is wrong with one."""
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        if not requirement.get("key"):
            yield fields.required(f"{here}.key")
        if operator in ("In", "NotIn"):
            if not values:
                yield fields.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield fields.forbidden(f"{here}.values", why)
        else:
            yield fields.invalid(f"{here}.operator", operator, "not a valid selector operator")
