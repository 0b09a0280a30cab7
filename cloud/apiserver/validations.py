"""Validation rules of custom resources (`x-kubernetes-validations`): compiled with the schema, checked when a value changes.

A rule sees the value it stands at as `self`, the one before as `oldSelf`; a rule that names `oldSelf` is only for changes, unless
it says `optionalOldSelf`. Old and new items of a list belong together by the list's keys. What has not changed is not checked
again.

Messages are those of kube-apiserver (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel).

Left out: the limits that Kubernetes puts to the estimated cost of a rule; the types of the schema are not known when a rule is
compiled, so that a field that is not declared fails only when it is evaluated; values of the formats date, date-time and duration
are text (`timestamp(self.at)` works either way).
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from cloud.apiserver import cel, fields
from cloud.apiserver.cel import ABSENT, CelError, CelFailure, NotEvaluated, Program
from cloud.apiserver.schema import SchemaError
from cloud.apiserver.status import Cause

View = Callable[[Any], Any]
_BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
_UNCHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    "<nil>",
)
_REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
_MESSAGE_LIMIT = 5120
_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
    }
    | {"loop", "package", "namespace", "return", "var", "void", "while"}
)
_NAMEABLE = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*").fullmatch
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


class Validations:
    """The rules of a whole object."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        """Compile the rules in a valid structural schema. Raises SchemaError."""
        self.warnings: list[str] = []
        """What says of rules that they are not evaluated here."""
        self._root = _node(openapi, "", True, self.warnings)
        if self._root is not None:
            self._root.view = _root_view(self._root.view)

    def check(self, obj: dict[str, Any], old: dict[str, Any] | None, causes: list[Cause]) -> list[Cause]:
        """What rules have against an object, given what its schema has, which may keep rules from being looked at."""
        if self._root is None:
            return []
        if any(cause.reason in _BLOCKING for cause in causes):
            return [_UNCHECKED]
        found: list[Cause] = []
        self._root.check(obj, ABSENT if old is None else old, "", found)
        return found


class _Node:
    """A level of a schema that has rules, or has some below."""

    __slots__ = ("additional", "item", "keys", "properties", "rules", "type", "unique", "view")

    def __init__(self, openapi: dict[str, Any]) -> None:
        self.type: str = openapi.get("type", "")
        self.rules: tuple[_Rule, ...] = ()
        self.properties: dict[str, _Node] = {}
        self.additional: _Node | None = None
        self.item: _Node | None = None
        self.keys: tuple[str, ...] = ()
        self.unique = False
        self.view: View | None = None
        """How the value reads in CEL, where that differs."""

    def check(self, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if value is None or (old is not ABSENT and (value is old or value == old)):
            return
        if self.rules:
            shown = value if self.view is None else self.view(value)
            before = old if self.view is None or old is ABSENT or old is None else self.view(old)
            for rule in self.rules:
                cause = rule.check(shown, ABSENT if before is None else before, path, self.type)
                if cause is not None:
                    causes.append(cause)
        if value.__class__ is dict:
            was = old if old.__class__ is dict else {}
            for name, sub in value.items():
                node = self.properties.get(name, self.additional)
                if node is not None:
                    node.check(sub, was.get(name, ABSENT), f"{path}.{name}" if path else name, causes)
        elif value.__class__ is list and self.item is not None:
            known = self._by_key(old) if old.__class__ is list else {}
            for index, item in enumerate(value):
                self.item.check(item, known.get(self._key(item), ABSENT), f"{path}[{index}]", causes)

    def _key(self, item: Any) -> Any:
        if self.unique:
            return repr(item)
        return tuple(repr(item.get(name)) for name in self.keys) if self.keys and isinstance(item, dict) else None

    def _by_key(self, items: list[Any]) -> dict[Any, Any]:
        return {key: item for item in items if (key := self._key(item)) is not None}


class _Rule:
    """One rule, and what it says when it is broken."""

    def __init__(self, rule: dict[str, Any], path: str, correlated: bool) -> None:
        """Compile. Raises SchemaError and NotEvaluated."""
        self._text: str = str(rule.get("rule", "")).strip()
        if not self._text:
            raise SchemaError(f"{path}.rule", "rule is not specified")
        self._message: str = str(rule.get("message") or "").strip()
        self._reason: str = rule.get("reason") or _REASONS[0]
        if self._reason not in _REASONS:
            raise SchemaError(f"{path}.reason", f"must be one of {', '.join(_REASONS)}", self._reason)
        self._field: str = rule.get("fieldPath") or ""
        if self._field and self._field[0] not in ".[":
            raise SchemaError(f"{path}.fieldPath", "must begin with . or [", self._field)
        self._optional_old = bool(rule.get("optionalOldSelf"))
        self._program = self._compile(cel.compile_rule, self._text, f"{path}.rule")
        expression = str(rule.get("messageExpression") or "").strip()
        self._say: Program | None = None
        if expression:
            self._say = self._compile(cel.compile_message, expression, f"{path}.messageExpression")
        if self._program.uses_old and not correlated:
            why = "oldSelf cannot be used on the uncorrelatable portion of the schema"
            raise SchemaError(f"{path}.rule", why, self._text)

    def _compile(self, how: Callable[[str, bool], Program], text: str, path: str) -> Program:
        try:
            return how(text, self._optional_old)
        except CelError as error:
            raise SchemaError(path, str(error), text) from error

    def check(self, value: Any, old: Any, path: str, type: str) -> Cause | None:
        """What is wrong with a value, or None."""
        if self._program.uses_old and old is ABSENT and not self._optional_old:
            return None
        where = f"{path}{self._field}".lstrip(".") or "<nil>"
        try:
            if self._program.evaluate(value, old) is True:
                return None
        except CelFailure as failure:
            return fields.invalid(where, type, f"{failure} evaluating rule: {self._message or self._text}")
        why = self._said(value, old)
        match self._reason:
            case "FieldValueForbidden":
                return fields.forbidden(where, why)
            case "FieldValueRequired":
                return fields.required(where, why)
            case "FieldValueDuplicate":
                return fields.duplicate(where, type)
        return fields.invalid(where, type, why)

    def _said(self, value: Any, old: Any) -> str:
        if self._say is not None and (old is not ABSENT or self._optional_old or not self._say.uses_old):
            try:
                said = str(self._say.evaluate(value, old)).strip()
            except CelFailure:
                said = ""
            if said and "\n" not in said and len(said) <= _MESSAGE_LIMIT:
                return said
        return self._message or f"failed rule: {self._text}"


def _node(openapi: Any, path: str, correlated: bool, warnings: list[str]) -> _Node | None:
    """The rules at and below one level, or None where there are none; `correlated` says that old values are known here."""
    if not isinstance(openapi, dict):
        return None
    made = _Node(openapi)
    rules = []
    for index, rule in enumerate(openapi.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{index}]"
        try:
            rules.append(_Rule(rule, where, correlated))
        except NotEvaluated as error:
            warnings.append(f"{where}.rule is not evaluated: {error}")
    made.rules = tuple(rules)
    below = correlated and openapi.get("x-kubernetes-map-type") != "atomic"
    for name, sub in (openapi.get("properties") or {}).items():
        node = _node(sub, f"{path}.properties[{name}]", below, warnings)
        if node is not None:
            made.properties[name] = node
    made.additional = _node(openapi.get("additionalProperties"), f"{path}.additionalProperties", below, warnings)
    if openapi.get("x-kubernetes-list-type") == "map":
        made.keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())
    made.unique = openapi.get("x-kubernetes-list-type") == "set"
    items_correlated = correlated and bool(made.keys or made.unique)
    made.item = _node(openapi.get("items"), f"{path}.items", items_correlated, warnings)
    if made.rules:
        made.view = _view(openapi)
    return made if made.rules or made.properties or made.additional or made.item else None


def escaped(name: str) -> str | None:
    """A property's name in CEL; None for one that cannot be named there."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _NAMEABLE(name):
        return None
    for plain, escape in _ESCAPES:
        name = name.replace(plain, escape)
    return name


def _view(openapi: Any) -> View | None:
    """How values of a schema are made what they are in CEL; None where they are that already."""
    if not isinstance(openapi, dict):
        return None
    if openapi.get("type") == "number":
        return lambda value: float(value) if value.__class__ is int else value
    if openapi.get("type") == "string" and openapi.get("format") == "byte":
        return _bytes
    item = _view(openapi.get("items"))
    if item is not None:
        return lambda value: [item(sub) for sub in value] if value.__class__ is list else value
    properties = openapi.get("properties") or {}
    names = {name: escaped(name) for name in properties}
    views = {name: how for name, sub in properties.items() if (how := _view(sub)) is not None}
    other = _view(openapi.get("additionalProperties"))
    if not views and other is None and all(name == shown for name, shown in names.items()):
        return None

    def view(value: Any) -> Any:
        if value.__class__ is not dict:
            return value
        shown = {}
        for name, sub in value.items():
            how = views.get(name, other)
            if (key := names.get(name, name)) is not None:
                shown[key] = sub if how is None else how(sub)
        return shown

    return view


def _root_view(below: View | None) -> View:
    """At the root only the name of the metadata can be seen."""

    def view(value: dict[str, Any]) -> Any:
        shown = value if below is None else below(value)
        meta = value.get("metadata") or {}
        return {**shown, "metadata": {name: meta[name] for name in ("name", "generateName") if name in meta}}

    return view


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except binascii.Error:
        return value
