"""Lists, whole or in pages.

A paged list is one state of the server from its first page to its last: what the first page found is kept, by reference, for a
few minutes and a few lists at a time. A continue token whose list is no longer kept gets 410 and, as the API has it, a token
to go on with from the present state.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from cloud.apiserver import status
from cloud.apiserver.resources import Resource
from cloud.apiserver.selectors import Selector, everything
from cloud.apiserver.state import State, Stored
from cloud.apiserver.watch import selectable_fields

KEPT_LISTS = 8
"""Paged lists that are kept at a time."""
KEPT_FOR = timedelta(minutes=5)
"""How long a paged list is kept, as etcd keeps its revisions."""
_GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
    "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)
_NOT_OURS = "continue key is not valid: it was not made by this server for this list"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query parameters of a list."""

    selector: Selector = everything
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    exact: bool = False
    """resourceVersionMatch=Exact."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects, the revision they were all read at, and how to go on."""

    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int = 0
    """Objects behind this page; 0 when there are none or when a selector makes the number unknown to clients."""

    @property
    def metadata(self) -> dict[str, str | int]:
        """The ListMeta."""
        meta: dict[str, str | int] = {"resourceVersion": str(self.revision)}
        if self.continue_token:
            meta["continue"] = self.continue_token
        if self.remaining:
            meta["remainingItemCount"] = self.remaining
        return meta


class _Token(msgspec.Struct):
    """Where a list goes on: in a kept list, or, with number 0, in the present state. Clients can write one as well as we."""

    number: int
    at: Annotated[int, msgspec.Meta(ge=0)]
    after: tuple[str, str]


@dataclass(slots=True)
class _Kept:
    storage: str
    namespace: str
    items: list[Stored]
    revision: int
    until: datetime


class Lister:
    """Answers lists from the committed state."""

    def __init__(self, state: State, now: Callable[[], datetime]) -> None:
        self._state = state
        self._now = now
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._number = 0

    def read(self, resource: Resource, namespace: str, options: ListOptions) -> Page:
        """The objects asked for. Raises ApiError 400, 410 or 504."""
        self._forget()
        if options.continue_token:
            return self._continue(resource, namespace, options)
        self._check_version(options)
        items = _selected(self._state.current_all(resource.storage, namespace), options.selector)
        return self._page(self._found(resource, namespace, items), 0, 0, options)

    def _found(self, resource: Resource, namespace: str, items: list[Stored]) -> _Kept:
        return _Kept(resource.storage, namespace, items, self._state.revision, self._now() + KEPT_FOR)

    def _check_version(self, options: ListOptions) -> None:
        if not options.resource_version:
            return
        asked = parse_version(options.resource_version)
        if asked > self._state.revision:
            raise status.too_large_version(asked, self._state.revision)
        if options.exact and asked != self._state.revision:
            raise status.expired(f"The resourceVersion for the provided list is too old: {asked}")

    def _continue(self, resource: Resource, namespace: str, options: ListOptions) -> Page:
        token = _read(options.continue_token)
        if token.number:
            kept = self._kept.get(token.number)
            if kept is None:
                raise status.expired(_GONE, _write(_Token(0, 0, token.after)))
            if (kept.storage, kept.namespace) != (resource.storage, namespace):
                raise status.bad_request(_NOT_OURS)
            return self._page(kept, token.number, token.at, options)
        items = _selected(self._state.current_all(resource.storage, namespace), options.selector)
        rest = [s for s in items if (s.namespace, s.name) > tuple(token.after)]
        return self._page(self._found(resource, namespace, rest), 0, 0, options)

    def _page(self, kept: _Kept, number: int, at: int, options: ListOptions) -> Page:
        end = at + options.limit if options.limit > 0 else len(kept.items)
        items = kept.items[at:end]
        # Who asks was let in for this selector, and the list may be one that another asked for.
        chosen = _selected(items, options.selector) if number else items
        if end >= len(kept.items):
            return Page(chosen, kept.revision)
        if not number:
            self._number += 1
            number = self._number
            self._kept[number] = kept
            while len(self._kept) > KEPT_LISTS:
                self._kept.popitem(last=False)
        last = items[-1]
        token = _write(_Token(number, end, (last.namespace, last.name)))
        selected = bool(options.selector.fields or options.selector.labels)
        return Page(chosen, kept.revision, token, 0 if selected else len(kept.items) - end)

    def _forget(self) -> None:
        now = self._now()
        for number in [n for n, kept in self._kept.items() if kept.until < now]:
            del self._kept[number]


def _selected(items: list[Stored], selector: Selector) -> list[Stored]:
    if not selector.fields and not selector.labels:
        return items
    return [s for s in items if selector.matches(s.labels, selectable_fields(s))]


def parse_version(text: str) -> int:
    """A resourceVersion as a number. Raises ApiError 400."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:  # an unsigned number of 64 bits
        raise status.bad_request(f'Invalid value: "{text}": resourceVersion must be a number')
    return int(text)


def _write(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _read(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (ValueError, msgspec.DecodeError) as error:
        raise status.bad_request(_NOT_OURS) from error
