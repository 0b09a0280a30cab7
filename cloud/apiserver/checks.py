"""Value validations of a schema: enum, pattern, lengths, bounds, sizes and formats, each compiled to a function.

A check is called with a value of the right type and its path, and returns what is wrong, or None.
"""

import re
from collections.abc import Callable
from typing import Any

from cloud.apiserver import fields
from cloud.apiserver.formats import FORMATS
from cloud.apiserver.status import Cause

Check = Callable[[Any, str], Cause | None]


class CheckError(ValueError):
    """A validation that cannot be compiled; `name` is its key in the schema."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def checks_of(openapi: dict[str, Any]) -> tuple[Check, ...]:
    """One function per value validation that one level of a schema has. Raises CheckError."""
    found: list[Check] = []
    for name, make in _CHECKS.items():
        limit = openapi.get(name)
        if limit is not None and limit is not False:
            try:
                found.append(make(limit, openapi))
            except (re.error, TypeError) as error:
                raise CheckError(name, str(error)) from error
    return tuple(found)


def _enum(limit: Any, _: dict[str, Any]) -> Check:
    allowed = list(limit)
    return lambda value, path: None if value in allowed else fields.not_supported(path, value, allowed)


def _pattern(limit: Any, _: dict[str, Any]) -> Check:
    search = re.compile(limit).search

    def check(value: Any, path: str) -> Cause | None:
        if not isinstance(value, str) or search(value):
            return None
        return fields.invalid(path, value, f"{path} in body should match '{limit}'")

    return check


def _max_length(limit: Any, _: dict[str, Any]) -> Check:
    return lambda value, path: fields.too_long(path, limit) if isinstance(value, str) and len(value) > limit else None


def _min_length(limit: Any, _: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if not isinstance(value, str) or len(value) >= limit:
            return None
        return fields.invalid(path, value, f"{path} in body should be at least {limit} chars long")

    return check


def _minimum(limit: Any, openapi: dict[str, Any]) -> Check:
    exclusive = bool(openapi.get("exclusiveMinimum"))
    word = "greater than" if exclusive else "greater than or equal to"

    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) or value > limit or (value == limit and not exclusive):
            return None
        return fields.invalid(path, value, f"{path} in body should be {word} {limit}")

    return check


def _maximum(limit: Any, openapi: dict[str, Any]) -> Check:
    exclusive = bool(openapi.get("exclusiveMaximum"))
    word = "less than" if exclusive else "less than or equal to"

    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) or value < limit or (value == limit and not exclusive):
            return None
        return fields.invalid(path, value, f"{path} in body should be {word} {limit}")

    return check


def _multiple_of(limit: Any, _: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) or (value / limit).is_integer():
            return None
        return fields.invalid(path, value, f"{path} in body should be a multiple of {limit}")

    return check


def _max_size(limit: Any, _: dict[str, Any]) -> Check:
    return lambda value, path: fields.too_many(path, len(value), limit) if len(value) > limit else None


def _min_items(limit: Any, _: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if len(value) >= limit:
            return None
        return fields.invalid(path, len(value), f"{path} in body should have at least {limit} items")

    return check


def _min_properties(limit: Any, _: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if len(value) >= limit:
            return None
        return fields.invalid(path, len(value), f"{path} in body should have at least {limit} properties")

    return check


def _format(limit: Any, _: dict[str, Any]) -> Check:
    valid = FORMATS.get(limit)
    if valid is None:  # an unknown format is no constraint
        return lambda value, path: None

    def check(value: Any, path: str) -> Cause | None:
        if not isinstance(value, str) or valid(value):
            return None
        return fields.invalid(path, value, f"{path} in body must be of type {limit}: {fields.shown(value)}")

    return check


_CHECKS: dict[str, Callable[[Any, dict[str, Any]], Check]] = {
    "enum": _enum,
    "pattern": _pattern,
    "maxLength": _max_length,
    "minLength": _min_length,
    "minimum": _minimum,
    "maximum": _maximum,
    "multipleOf": _multiple_of,
    "maxItems": _max_size,
    "minItems": _min_items,
    "maxProperties": _max_size,
    "minProperties": _min_properties,
    "format": _format,
}
