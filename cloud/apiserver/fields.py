"""What can be wrong with a field, in the words of the API (k8s.io/apimachinery/pkg/util/validation/field)."""

from typing import Any

import msgspec

from cloud.apiserver.status import Cause


def shown(value: Any) -> str:
    """A value as messages show it: strings quoted, everything else as JSON."""
    return msgspec.json.encode(value).decode()


def required(path: str, hint: str = "") -> Cause:
    """The field must be there."""
    return Cause("FieldValueRequired", f"Required value: {hint}" if hint else "Required value", path)


def invalid(path: str, value: Any, why: str) -> Cause:
    """The field has a value that does not fit."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {why}", path)


def type_invalid(path: str, found: str, why: str) -> Cause:
    """The field has a value of another type; `found` is the JSON type's name."""
    return Cause("FieldValueTypeInvalid", f"Invalid value: {shown(found)}: {why}", path)


def not_supported(path: str, value: Any, supported: list[Any]) -> Cause:
    """The field has a value outside its enumeration."""
    listed = ", ".join(shown(v if isinstance(v, str) else shown(v)) for v in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", path)


def duplicate(path: str, value: Any) -> Cause:
    """An item that may occur once occurs again."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", path)


def not_found(path: str, value: Any) -> Cause:
    """The field names something that is not there."""
    return Cause("FieldValueNotFound", f"Not found: {shown(value)}", path)


def too_long(path: str, limit: int) -> Cause:
    """A string over its limit."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", path)


def too_many(path: str, found: int, limit: int) -> Cause:
    """A list or map over its limit."""
    return Cause("FieldValueTooMany", f"Too many: {found}: must have at most {limit} items", path)


def forbidden(path: str, why: str) -> Cause:
    """The field may not be set here."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)
