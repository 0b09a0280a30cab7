"""A write as it is asked for, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cloud.apiserver.state import Stored, Transaction

Restriction = Callable[[str, dict[str, Any], dict[str, Any] | None], None]
"""Raises ApiError 403 for a write whose content its user may not decide: storage name, new object, old one."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """The query parameters of a write."""

    dry_run: bool = False
    field_validation: str = "Warn"
    """Strict, Warn or Ignore: what becomes of fields that the schema does not know."""
    field_manager: str = "unknown"
    """Who owns the fields that the write changes."""
    force: bool = False
    """Whether an apply takes fields that others own."""
    restriction: Restriction | None = None
    """What the outcome has to pass."""
    asks_validation: bool = False
    """Whether the client asked for `field_validation` by name, and not for Ignore: unknown fields of built-in kinds are looked
    for only then."""


@dataclass(slots=True)
class Written:
    """The outcome of a write."""

    stored: Stored
    transaction: Transaction | None = None
    """To be on disk before the answer; None when nothing has to."""
    created: bool = False
    removed: bool = False
    """Whether the object is gone with this write, and not merely marked for deletion."""
    warnings: list[str] = field(default_factory=list)
