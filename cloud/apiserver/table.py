"""Tables (meta.k8s.io/v1): what `kubectl get` prints, made on the server from columns.

A column is a name and a function from an object to a cell. Built-in kinds bring theirs from `columns.py`; a custom
resource's come from its `additionalPrinterColumns`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloud.apiserver.formats import parse_time
from cloud.apiserver.jsonpath import compile_path

Cell = Callable[[dict[str, Any], datetime], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `priority` above 0 shows with `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        """The column as a Table declares it."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client "
    "to request the generation of an appropriate name automatically."
)
_AGE_TEXT = "CreationTimestamp is a timestamp representing the server time when this object was created."


def age(moment: str | None, now: datetime) -> str:
    """The time since a moment as kubectl writes it: 45s, 5m30s, 3h, 12d; "<unknown>" without one."""
    then = parse_time(moment or "")
    return "<unknown>" if then is None else human_duration(int((now - then).total_seconds()))


def human_duration(seconds: int) -> str:
    """Seconds as k8s.io/apimachinery/pkg/util/duration.HumanDuration writes them."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


NAME = Column("Name", lambda obj, now: obj["metadata"]["name"], format="name", description=_NAME_TEXT)
AGE = Column("Age", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now), description=_AGE_TEXT)
CREATED_AT = Column(
    "Created At", lambda obj, now: obj["metadata"].get("creationTimestamp"), type="date", description=_AGE_TEXT
)
PLAIN = (NAME, AGE)
"""The columns of a kind that declares none."""


def custom_columns(declared: Iterable[dict[str, Any]]) -> tuple[Column, ...]:
    """The columns of a custom resource's version. Raises ValueError for a JSONPath that cannot be read."""
    found = [_custom_column(column) for column in declared]
    return (NAME, *(found or (AGE,)))


def _custom_column(column: dict[str, Any]) -> Column:
    find = compile_path(column["jsonPath"])
    type = column.get("type", "string")

    def cell(obj: dict[str, Any], now: datetime) -> Any:
        values = find(obj)
        return _cell(values, type, now) if values else None

    return Column(
        column["name"], cell, type, column.get("format", ""), column.get("description", ""), column.get("priority", 0)
    )


def _cell(values: list[Any], type: str, now: datetime) -> Any:
    first = values[0]
    if first is None:
        return None
    if type == "date":
        return age(first, now) if isinstance(first, str) else "<invalid>"
    if type == "integer":
        return int(first) if isinstance(first, (int, float)) else None
    if type == "number":
        return first if isinstance(first, (int, float)) else None
    if type == "boolean":
        return first if isinstance(first, bool) else None
    return ",".join(_text(value) for value in values)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        import msgspec

        return msgspec.json.encode(value).decode()
    return str(value)


def table(columns: tuple[Column, ...], rows: list[dict[str, Any]], metadata: dict[str, Any]) -> dict[str, Any]:
    """A Table of rows made by `row`; without columns it only continues an earlier one, as in a watch."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }


def row(columns: tuple[Column, ...], obj: dict[str, Any], now: datetime, include: str) -> dict[str, Any]:
    """One object as a row; `include` is the includeObject parameter: Metadata, None or Object."""
    made: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns]}
    if include == "Object":
        made["object"] = obj
    elif include != "None":
        made["object"] = partial(obj)
    return made


def partial(obj: dict[str, Any]) -> dict[str, Any]:
    """PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
