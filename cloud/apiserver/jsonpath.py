"""The JSONPath of printer columns and selectable fields: `.spec.nodeName`, `.status.conditions[?(@.type=="Ready")].status`.

A path is compiled once and yields every value it matches. Understood are children (`.a`, `['a.b']`), indexes (`[0]`, `[-1]`),
`[*]` and comparisons of a child with a literal (`==`, `!=`); that is what kubectl's own columns are made of.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

_STEP = re.compile(
    r"""
      \.(?P<child>(?:[^.\[\]\\]|\\.)+)
    | \[(?P<quote>['"])(?P<quoted>(?:(?!(?P=quote)).)*)(?P=quote)\]
    | \[(?P<index>-?\d+)\]
    | (?P<all>\[\*\]|\.\*)
    | \[\?\(\s*@\.(?P<left>[^=!\s)]+)\s*(?P<op>==|!=)\s*(?P<right>"[^"]*"|'[^']*'|[^)\s]+)\s*\)\]
    """,
    re.VERBOSE,
)

Step = Callable[[Any], Iterator[Any]]
Path = Callable[[Any], list[Any]]


def compile_path(text: str) -> Path:
    """A function from a value to the list of values that the path finds in it. Raises ValueError for a path it cannot read."""
    source = text.strip()
    if source.startswith("{") and source.endswith("}"):
        source = source[1:-1]
    source = source.removeprefix("$")
    if source and source[0] not in ".[":
        source = "." + source
    steps: list[Step] = []
    at = 0
    while at < len(source):
        found = _STEP.match(source, at)
        if found is None:
            raise ValueError(f"cannot read {text!r} from {source[at:]!r}")
        steps.append(_step(found))
        at = found.end()

    def find(value: Any) -> list[Any]:
        values = [value]
        for step in steps:
            values = [result for item in values for result in step(item)]
        return values

    return find


def _step(found: re.Match[str]) -> Step:
    if found["child"] is not None:
        return _child(re.sub(r"\\(.)", r"\1", found["child"]))
    if found["quoted"] is not None:
        return _child(found["quoted"])
    if found["index"] is not None:
        return _index(int(found["index"]))
    if found["all"] is not None:
        return _all
    return _filter(compile_path(found["left"]), found["op"] == "==", _literal(found["right"]))


def _child(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _filter(left: Path, equal: bool, right: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            found = left(item)
            if (bool(found) and _text(found[0]) == right) is equal:
                yield item

    return step


def _literal(text: str) -> str:
    return text[1:-1] if text[:1] in "\"'" else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
