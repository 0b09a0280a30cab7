"""Configuration files: YAML read into msgspec structs, the same way in edgecore, cloudcore and the mappers.

A service describes its configuration as a struct in which every field has a default and a docstring; `load` fills it from a
file and from the command line's options. A key nobody knows is refused with the nearest known name, because a misspelt key
that is ignored costs its user an evening. Checks that a type cannot express belong in the struct's `__post_init__`: a
ValueError raised there is reported with the file and the key like any other mistake.

    ConfigError: unknown key `brokr` in edgecore.yaml: did you mean `broker`?
    ConfigError: `broker.port` in edgecore.yaml: expected `int`, got `str`
"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ConfigError(Exception):
    """A configuration that cannot be used; the text names the file and the key, and is meant for the user as it is."""


def load(path: Path | None, type: type[T], overrides: Mapping[str, Any] | None = None) -> T:
    """The configuration in `path` as a struct of `type`; without a path, its defaults.

    `overrides` are laid over the file: dotted key -> value, as in `{"broker.port": 1884}`; those that are None count as not
    given. Raises ConfigError when the file cannot be read, is no YAML mapping, has a key that `type` lacks, or a value that
    does not fit.
    """
    content: dict[str, Any] = {} if path is None else _read(path)
    source = "the options" if path is None else path.name
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(content, key, value, source)
    return parse(content, type, source)


def parse(content: Any, type: type[T], source: str, *, strict: bool = True) -> T:
    """A struct of `type` from plain objects, such as a YAML document read elsewhere; `source` names them in errors.

    Without `strict`, numbers and booleans may also be written as strings.
    """
    # Imported here: this module is part of the vocabulary, and only a process that reads a configuration needs the cost.
    from msgspec.inspect import type_info

    for at, unknown, known in _unknown_keys(content, type_info(type), ""):
        raise ConfigError(f"unknown key `{_join(at, unknown)}` in {source}{_hint(at, unknown, known)}")
    try:
        return msgspec.convert(content, type, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(_located(str(error), source)) from error


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that looks most like a misspelt one, or None when none comes near."""
    folded = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not valid YAML: {_yaml_problem(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} must hold keys and values, not a {type(content).__name__}")
    return content


def _yaml_problem(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return problem if mark is None else f"{problem} (line {mark.line + 1}, column {mark.column + 1})"


def _put(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    *parents, last = key.split(".")
    inner = content
    for depth, parent in enumerate(parents, 1):
        if inner.get(parent) is None:
            inner[parent] = {}
        inner = inner[parent]
        if not isinstance(inner, dict):
            raise ConfigError(f"`{'.'.join(parents[:depth])}` in {source}: expected keys and values")
    inner[last] = value


def _unknown_keys(value: Any, info: Any, at: str) -> Iterator[tuple[str, str, list[str]]]:
    """Every key in `value` that its type lacks: where it stands, the key, the known ones of its place."""
    from msgspec.inspect import DictType, ListType, StructType, UnionType

    match info:
        case StructType() if isinstance(value, dict):
            fields = {f.encode_name: f.type for f in info.fields}
            known = {**fields, info.tag_field: None} if info.tag_field else fields
            for key, inner in value.items():
                if key not in known:
                    yield at, str(key), list(known)
                elif key in fields:
                    yield from _unknown_keys(inner, fields[key], _join(at, key))
        case ListType() if isinstance(value, list):
            for number, inner in enumerate(value):
                yield from _unknown_keys(inner, info.item_type, f"{at}[{number}]")
        case DictType() if isinstance(value, dict):
            for key, inner in value.items():
                yield from _unknown_keys(inner, info.value_type, _join(at, key))
        case UnionType() if (chosen := _chosen(value, info)) is not None:
            yield from _unknown_keys(value, chosen, at)


def _chosen(value: Any, union: Any) -> Any:
    """The member of a union that a value is meant for; None when it cannot be told (then the conversion says so)."""
    from msgspec.inspect import DictType, ListType, StructType

    if isinstance(value, list):
        return next((t for t in union.types if isinstance(t, ListType)), None)
    structs = [t for t in union.types if isinstance(t, StructType)]
    if not structs:
        return next((t for t in union.types if isinstance(t, DictType)), None)
    if len(structs) == 1 or not isinstance(value, dict):
        return structs[0]
    return next((t for t in structs if t.tag_field and value.get(t.tag_field) == t.tag), None)


def _join(at: str, key: Any) -> str:
    return f"{at}.{key}" if at else str(key)


def _hint(at: str, unknown: str, known: list[str]) -> str:
    found = nearest(unknown, known)
    if found is not None:
        return f": did you mean `{_join(at, found)}`?"
    return f": known are {', '.join(f'`{_join(at, k)}`' for k in known)}" if known else ""


def _decode(type: Any, value: Any) -> Any:
    if type is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"expected `{getattr(type, '__name__', type)}`, got `{value.__class__.__name__}`")


def _located(text: str, source: str) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.broker.port`"; a user reads the key first."""
    problem, found, where = text.rpartition(" - at `$")
    if not found:
        return f"{source}: {_lower_first(text)}"
    key = where.rstrip("`").removeprefix(".")
    return f"`{key}` in {source}: {_lower_first(problem)}" if key else f"{source}: {_lower_first(problem)}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
