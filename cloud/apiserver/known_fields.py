"""Which fields the built-in kinds have, all the way down: what a misspelt one is found by.

Names only, 190 types of them in 0.1 MB; loaded when a client first asks that its fields be checked.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

Object = dict[str, Any]


class KnownFields(Struct):
    """The fields of the built-in kinds, as `fields.json` has them."""

    kinds: dict[str, str]
    """Kind -> its type."""
    types: dict[str, dict[str, str]]
    """Type -> field -> "" for what is not looked into, or a type: `NAME`, `[]NAME` for a list of it, `{}NAME` for a map."""

    def unknown(self, kind: str, obj: Object, old: Object | None) -> list[str]:
        """Paths of fields that nobody knows; the metadata is left to others, and so is what was there before, in `old`."""
        root = self.kinds.get(kind)
        if root is None:
            return []
        found = list(self._root(root, obj))
        if found and old:
            before = set(self._root(root, old))
            found = [path for path in found if path not in before]
        return found

    def _root(self, root: str, obj: Object) -> Iterator[str]:
        return self._object(root, {name: value for name, value in obj.items() if name != "metadata"}, "")

    def _object(self, name: str, value: Any, path: str) -> Iterator[str]:
        known = self.types.get(name)
        if known is None or value.__class__ is not dict:
            return
        for field, sub in value.items():
            within = known.get(field)
            where = f"{path}.{field}" if path else field
            if within is None:
                yield where
            elif within and sub:
                yield from self._part(within, sub, where)

    def _part(self, within: str, value: Any, path: str) -> Iterator[str]:
        if within.startswith("[]") and value.__class__ is list:
            for index, item in enumerate(value):
                yield from self._object(within[2:], item, f"{path}[{index}]")
        elif within.startswith("{}") and value.__class__ is dict:
            for key, item in value.items():
                yield from self._object(within[2:], item, f"{path}.{key}")
        else:
            yield from self._object(within, value, path)
