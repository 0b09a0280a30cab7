"""Structural schemas of custom resources: pruning, defaulting and validation, in one pass over an object.

A schema is compiled once per CustomResourceDefinition. `Schema.admit` then takes an object and, where there is one, the
object it replaces: parts that are equal to what is stored are not looked at again, which is what makes a status patch of
one property in a large Device cheap, and is also what the API calls ratcheting validation. Messages are those of
kube-apiserver (apiextensions-apiserver, k8s.io/kube-openapi/pkg/validation).

Rules in CEL (`x-kubernetes-validations`) are looked at afterwards, by `validations`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.apiserver import fields
from cloud.apiserver.checks import CheckError, checks_of
from cloud.apiserver.status import Cause

ABSENT: Any = object()
"""No value, where None is one."""

_ROOT_ALWAYS = ("apiVersion", "kind", "metadata")
_SCALARS = frozenset({str, int, float, bool, type(None)})
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


class SchemaError(ValueError):
    """A schema that is not structural, or cannot be compiled; `path` is where in the schema, `value` what stands there."""

    def __init__(self, path: str, why: str, value: str = "") -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why
        self.value = value


@dataclass(slots=True)
class Report:
    """What came out of admitting an object."""

    causes: list[Cause] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Paths of fields that were dropped because the schema does not know them."""


class Schema:
    """A compiled schema of a whole object."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        """Compile. Raises SchemaError."""
        self.root = _Node(openapi, "")
        self.root.always = frozenset(_ROOT_ALWAYS)
        for name in _ROOT_ALWAYS:
            self.root.properties.pop(name, None)

    def admit(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> Report:
        """Prune `obj` and fill in its defaults, in place, and say what is wrong with it.

        `old` must have been admitted under this very schema; parts of `obj` equal to it are taken as they are.
        """
        report = Report()
        self.root.admit(obj, ABSENT if old is None else old, "", report)
        return report


class _Node:
    """One level of a schema."""

    __slots__ = (
        "additional",
        "always",
        "checks",
        "combined",
        "default",
        "defaults",
        "embedded",
        "int_or_string",
        "item",
        "keys",
        "leaf",
        "nullable",
        "preserve",
        "properties",
        "required",
        "type",
        "types",
        "unique",
    )

    def __init__(self, openapi: dict[str, Any], path: str) -> None:
        if not isinstance(openapi, dict):
            raise SchemaError(path, "must be an object")
        self.int_or_string = bool(openapi.get("x-kubernetes-int-or-string"))
        self.type = openapi.get("type", "")
        if self.type and self.type not in _PYTHON_TYPES:
            raise SchemaError(f"{path}.type", f"unknown type {self.type!r}")
        self.types = (int, str) if self.int_or_string else _PYTHON_TYPES.get(self.type, (object,))
        self.nullable = bool(openapi.get("nullable"))
        self.preserve = bool(openapi.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(openapi.get("x-kubernetes-embedded-resource"))
        self.always = frozenset(_ROOT_ALWAYS) if self.embedded else frozenset()
        self.default = openapi.get("default", ABSENT)
        self.required = tuple(openapi.get("required") or ())
        self.properties = {
            name: _Node(sub, f"{path}.properties[{name}]") for name, sub in (openapi.get("properties") or {}).items()
        }
        self.defaults = {name: sub.default for name, sub in self.properties.items() if sub.default is not ABSENT}
        extra = openapi.get("additionalProperties", ABSENT)
        self.additional = _Node(extra, f"{path}.additionalProperties") if isinstance(extra, dict) else None
        if extra is True:
            self.preserve = True
        items = openapi.get("items")
        self.item = _Node(items, f"{path}.items") if items else None
        self.unique = openapi.get("x-kubernetes-list-type", "")
        self.keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())
        try:
            self.checks = checks_of(openapi)
        except CheckError as error:
            raise SchemaError(f"{path}.{error.name}", error.why) from error
        self.combined = _combined(openapi, path)
        self.leaf = self.type not in ("object", "array")

    def admit(self, value: Any, old: Any, path: str, report: Report) -> None:
        """Prune, default and validate `value`; equal parts of `old` are skipped."""
        if value is None:
            if not self.nullable and not (self.type == "" and not self.int_or_string):
                report.causes.append(_type_cause(path, self.type or "integer,string", value))
            return
        if not self._has_type(value):
            expected = "integer,string" if self.int_or_string else self.type
            report.causes.append(_type_cause(path, expected, value))
            return
        if value.__class__ is dict:
            self._admit_object(value, old if old.__class__ is dict else {}, path, report)
        elif value.__class__ is list:
            self._admit_list(value, old if old.__class__ is list else [], path, report)
        for check in self.checks:
            cause = check(value, path)
            if cause is not None:
                report.causes.append(cause)
        if self.combined:
            for combined in self.combined:
                combined(value, path, report)

    def _has_type(self, value: Any) -> bool:
        if value.__class__ is bool:  # which is an int to Python
            return self.type == "boolean" or self.types == (object,)
        if isinstance(value, self.types):
            return True
        return self.type == "integer" and isinstance(value, float) and value.is_integer()

    def _admit_object(self, value: dict[str, Any], old: dict[str, Any], path: str, report: Report) -> None:
        for name, default in self.defaults.items():
            found = value.get(name, ABSENT)
            if found is ABSENT or (found is None and not self.properties[name].nullable):
                value[name] = _copy(default)
        properties, additional = self.properties, self.additional
        dropped: list[str] = []
        for name, sub in value.items():
            node = properties.get(name, additional)
            if node is None:
                if not self.preserve and name not in self.always:
                    dropped.append(name)
                continue
            before = old.get(name, ABSENT)
            if before is sub or (before is not ABSENT and _same(before, sub)):
                continue
            node.admit(sub, before, f"{path}.{name}" if path else name, report)
        for name in dropped:
            del value[name]
            report.unknown.append(f"{path}.{name}" if path else name)
        for name in self.required:
            if name not in value:
                report.causes.append(fields.required(f"{path}.{name}" if path else name))

    def _admit_list(self, value: list[Any], old: list[Any], path: str, report: Report) -> None:
        if self.item is not None:
            admit = self.item.admit
            known = len(old)
            for index, item in enumerate(value):
                before = old[index] if index < known else ABSENT
                if before is not ABSENT and _same(before, item):
                    continue
                admit(item, before, f"{path}[{index}]", report)
        if self.unique == "map":
            self._unique_keys(value, path, report)
        elif self.unique == "set":
            for index, item in enumerate(value):
                if item in value[:index]:
                    report.causes.append(fields.duplicate(f"{path}[{index}]", item))

    def _unique_keys(self, value: list[Any], path: str, report: Report) -> None:
        if len(self.keys) == 1 and _distinct(value, self.keys[0]):
            return
        seen: set[tuple[Any, ...]] = set()
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                continue
            key = tuple(_hashable(item.get(name)) for name in self.keys)
            if key in seen:
                shown = {name: item[name] for name in self.keys if name in item}
                report.causes.append(fields.duplicate(f"{path}[{index}]", shown))
            seen.add(key)


def json_type(value: Any) -> str:
    """The JSON type's name, as messages give it."""
    for name in ("boolean", "integer", "number", "string", "object", "array"):
        if isinstance(value, _PYTHON_TYPES[name]):
            return name
    return "null"


def _same(before: Any, value: Any) -> bool:
    """Equal as JSON: Python alone takes True for 1."""
    if before != value or before.__class__ is not value.__class__:
        return False
    return value.__class__ in _SCALARS or msgspec.json.encode(before) == msgspec.json.encode(value)


def _type_cause(path: str, expected: str, value: Any) -> Cause:
    found = json_type(value)
    return fields.type_invalid(path, found, f'{path} in body must be of type {expected}: "{found}"')


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(sub) for key, sub in value.items()}
    if isinstance(value, list):
        return [_copy(sub) for sub in value]
    return value


def _distinct(items: list[Any], key: str) -> bool:
    """The common case, fast: every item has a string of its own under the key."""
    found = {item.get(key) for item in items if item.__class__ is dict and item.get(key).__class__ is str}
    return len(found) == len(items)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


Combined = Callable[[Any, str, Report], None]


def _combined(openapi: dict[str, Any], path: str) -> tuple[Combined, ...]:
    """allOf, anyOf, oneOf and not: value validations only, so they neither prune nor default."""
    found: list[Combined] = []
    if openapi.get("x-kubernetes-int-or-string"):
        return ()
    for name in ("allOf", "anyOf", "oneOf"):
        subs = [_value_node(sub, f"{path}.{name}[{index}]") for index, sub in enumerate(openapi.get(name) or ())]
        if subs:
            found.append(_COMBINE[name](subs))
    if isinstance(openapi.get("not"), dict):
        found.append(_not_one(_value_node(openapi["not"], f"{path}.not")))
    return tuple(found)


def _value_node(openapi: dict[str, Any], path: str) -> _Node:
    """A node that keeps every field: inside a combination nothing is pruned."""
    node = _Node(openapi, path)
    _keep_all(node)
    return node


def _keep_all(node: _Node) -> None:
    node.preserve = True
    node.defaults = {}
    for sub in (*node.properties.values(), node.item, node.additional):
        if sub is not None:
            _keep_all(sub)


def _problems(node: _Node, value: Any, path: str) -> list[Cause]:
    report = Report()
    node.admit(value, ABSENT, path, report)
    return report.causes


def _all_of(nodes: list[_Node]) -> Combined:
    def check(value: Any, path: str, report: Report) -> None:
        for node in nodes:
            report.causes.extend(_problems(node, value, path))

    return check


def _any_of(nodes: list[_Node]) -> Combined:
    def check(value: Any, path: str, report: Report) -> None:
        found = [_problems(node, value, path) for node in nodes]
        if all(found):
            why = f'"{path}" must validate at least one schema (anyOf)'
            report.causes.append(fields.invalid(path or "<nil>", "", why))
            report.causes.extend(found[0])

    return check


def _one_of(nodes: list[_Node]) -> Combined:
    def check(value: Any, path: str, report: Report) -> None:
        fitting = sum(not _problems(node, value, path) for node in nodes)
        if fitting != 1:
            found = f"valid {fitting} times" if fitting else "none valid"
            why = f'"{path}" must validate one and only one schema (oneOf). Found {found}'
            report.causes.append(fields.invalid(path or "<nil>", "", why))

    return check


def _not_one(node: _Node) -> Combined:
    def check(value: Any, path: str, report: Report) -> None:
        if not _problems(node, value, path):
            why = f'"{path}" must not validate the schema (not)'
            report.causes.append(fields.invalid(path or "<nil>", "", why))

    return check


_COMBINE = {"allOf": _all_of, "anyOf": _any_of, "oneOf": _one_of}
