"""Label and field selectors, parsed from their query strings (k8s.io/apimachinery/pkg/labels and /fields)."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cloud.apiserver.status import bad_request

Labels = Mapping[str, str]
Test = Callable[[Labels], bool]

_REQUIREMENT = re.compile(
    r"""\s*+(?:
        (?P<absent>!\s*+[^\s,!=()<>]++)
      | (?P<key>[^\s,!=()<>]++)\s*+(?:
            (?P<set>in|notin)\s*+\((?P<values>[^()]*+)\)
          | (?P<op>==|=|!=|<|>)\s*+(?P<value>[^\s,()]*+)
        )?
    )\s*+(?:,|$)""",
    re.VERBOSE,
)
"""Without a way back, for it would keep everybody waiting while it is tried; what is possessive here can never be shorter."""
TERMS_LIMIT = 256
"""Requirements of a selector: each is asked of each object, while everybody waits."""
_FIELD = re.compile(r"^(?P<field>[^=!]+?)(?P<op>==|!=|=)(?P<value>.*)$")


class Selector(NamedTuple):
    """What a list or a watch asks for beside the resource; `everything` selects all."""

    labels: tuple[Test, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()
    """(field, whether it must equal, value)."""

    def matches(self, labels: Labels, fields: Labels) -> bool:
        """Whether an object with these labels and selectable fields is asked for."""
        for name, equal, value in self.fields:
            if (fields.get(name, "") == value) is not equal:
                return False
        return all(test(labels) for test in self.labels)

    def wanted(self, name: str) -> str | None:
        """The value that a field must equal, or None when it is free."""
        return next((value for field, equal, value in self.fields if equal and field == name), None)


everything = Selector()


def parse(label_selector: str, field_selector: str, known_fields: frozenset[str]) -> Selector:
    """A selector from both query parameters. Raises ApiError 400 for bad syntax and for fields that cannot be selected by."""
    if not label_selector and not field_selector:
        return everything
    return Selector(parse_labels(label_selector), parse_fields(field_selector, known_fields))


def parse_labels(text: str) -> tuple[Test, ...]:
    """The requirements of a label selector such as `app=web,tier in (a,b),!legacy`."""
    tests: list[Test] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None or found.end() == at:
            raise bad_request(f"unable to parse requirement: found '{text[at:]}' in label selector")
        tests.append(_requirement(found))
        _check_terms(len(tests))
        at = found.end()
    return tuple(tests)


def _requirement(found: re.Match[str]) -> Test:
    if found["absent"]:
        absent = found["absent"][1:].strip()
        return lambda labels: absent not in labels
    key = found["key"]
    if found["set"]:
        values = frozenset(value.strip() for value in found["values"].split(","))
        if found["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    value = found["value"]
    match found["op"]:
        case None:
            return lambda labels: key in labels
        case "=" | "==":
            return lambda labels: labels.get(key) == value
        case "!=":
            return lambda labels: labels.get(key) != value
        case ">":
            return _compare(key, value, 1)
        case _:
            return _compare(key, value, -1)


def _compare(key: str, value: str, sign: int) -> Test:
    try:
        limit = int(value)
    except ValueError:
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise bad_request(f'values[0][{key}]: Invalid value: "{value}": {why}') from None

    def test(labels: Labels) -> bool:
        try:
            return (int(labels[key]) - limit) * sign > 0
        except (KeyError, ValueError):
            return False

    return test


def parse_fields(text: str, known: frozenset[str]) -> tuple[tuple[str, bool, str], ...]:
    """The terms of a field selector such as `metadata.name=x,status.phase!=Failed`."""
    terms: list[tuple[str, bool, str]] = []
    for term in (part.strip() for part in text.split(",")):
        if not term:
            continue
        found = _FIELD.match(term)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if found["field"] not in known:
            raise bad_request(f"field label not supported: {found['field']}")
        terms.append((found["field"], found["op"] != "!=", found["value"]))
        _check_terms(len(terms))
    return tuple(terms)


def _check_terms(count: int) -> None:
    if count > TERMS_LIMIT:
        raise bad_request(f"a selector may have at most {TERMS_LIMIT} requirements")
