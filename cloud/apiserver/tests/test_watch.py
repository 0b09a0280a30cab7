"""The event log and its watches, in the core."""

from collections.abc import Callable
from typing import Any

import pytest

from cloud.apiserver import selectors
from cloud.apiserver.selectors import everything
from cloud.apiserver.state import Change, Stored
from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core
from cloud.apiserver.watch import QUEUE_EVENTS, Event, Log, Watch


def stored(revision: int, name: str = "a", namespace: str = "n", **labels: str) -> Stored:
    return Stored("things", namespace, name, revision, b"x" * 100, labels)


def event(after: Stored, before: Stored | None = None, removed: bool = False) -> Event:
    return Event(Change(after.revision, before, after, removed))


def seen(watch: Watch) -> list[tuple[str, int]]:
    return [(delivery.type, delivery.event.revision) for delivery in watch.take()]


def test_a_watch_has_what_it_missed_and_what_follows() -> None:
    log = Log(floor=1)
    for revision in (2, 3, 4):
        log.publish(event(stored(revision)))
    watch = log.subscribe("", everything, after=2)
    log.publish(event(stored(5)))
    assert seen(watch) == [("ADDED", 3), ("ADDED", 4), ("ADDED", 5)]
    assert seen(watch) == []


def test_a_watch_from_before_the_window_is_told_to_list_again() -> None:
    log = Log(floor=10, events=2)
    with pytest.raises(ApiError) as caught:
        log.subscribe("", everything, after=9)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    for revision in (11, 12, 13):
        log.publish(event(stored(revision)))
    with pytest.raises(ApiError):
        log.subscribe("", everything, after=10)
    assert seen(log.subscribe("", everything, after=11)) == [("ADDED", 12), ("ADDED", 13)]


def test_the_window_is_bounded_in_bytes_too_and_keeps_the_newest() -> None:
    log = Log(floor=1, size=250)
    for revision in (2, 3, 4):
        log.publish(event(stored(revision)))
    assert seen(log.subscribe("", everything, after=2)) == [("ADDED", 3), ("ADDED", 4)]
    with pytest.raises(ApiError):
        log.subscribe("", everything, after=1)


def test_types_are_those_of_the_change() -> None:
    log = Log(floor=1)
    watch = log.subscribe("", everything, after=1)
    log.publish(event(stored(2)))
    log.publish(event(stored(3), stored(2)))
    log.publish(event(stored(4), stored(3), removed=True))
    assert seen(watch) == [("ADDED", 2), ("MODIFIED", 3), ("DELETED", 4)]


def test_entering_and_leaving_a_selection_reads_as_added_and_deleted() -> None:
    log = Log(floor=1)
    watch = log.subscribe("", selectors.parse("app=web", "", frozenset()), after=1)
    log.publish(event(stored(2)))
    log.publish(event(stored(3, app="web"), stored(2)))
    log.publish(event(stored(4, app="web"), stored(3, app="web")))
    log.publish(event(stored(5), stored(4, app="web")))
    log.publish(event(stored(6), stored(5), removed=True))
    assert seen(watch) == [("ADDED", 3), ("MODIFIED", 4), ("DELETED", 5)]


def test_a_watch_sees_its_namespace_and_its_name_only() -> None:
    log = Log(floor=1)
    by_name = selectors.parse("", "metadata.name=a", frozenset({"metadata.name"}))
    watch = log.subscribe("n", by_name, after=1)
    log.publish(event(stored(2, "b")))
    log.publish(event(stored(3, "a", "other")))
    log.publish(event(stored(4, "a")))
    assert seen(watch) == [("ADDED", 4)]


def test_a_watch_is_woken_for_what_concerns_it_only() -> None:
    log = Log(floor=1)
    woken: list[int] = []
    watch = log.subscribe("n", everything, after=1)
    watch.wake = lambda: woken.append(1)
    log.publish(event(stored(2, namespace="other")))
    assert woken == []
    log.publish(event(stored(3)))
    assert woken == [1]


def test_a_watch_that_nobody_reads_is_ended_and_keeps_nothing() -> None:
    log = Log(floor=1)
    watch = log.subscribe("", everything, after=1)
    for revision in range(2, QUEUE_EVENTS + 3):
        log.publish(event(stored(revision)))
    assert watch.overflowed
    assert watch.take() == []


def test_a_watch_that_is_gone_gets_nothing() -> None:
    log = Log(floor=1)
    watch = log.subscribe("", everything, after=1)
    log.unsubscribe(watch)
    log.publish(event(stored(2)))
    assert watch.take() == []
    assert log.watching == 0


def test_an_event_is_encoded_once_for_all_watches_of_one_form() -> None:
    made: list[str] = []

    def encode(text: str) -> Any:
        def run() -> bytes:
            made.append(text)
            return text.encode()

        return run

    one = event(stored(2))
    assert [one.encoded("json", encode("a")) for _ in range(2000)] == [b"a"] * 2000
    assert one.encoded("table", encode("b")) == b"b"
    assert made == ["a", "b"]


def test_a_namespaces_end_is_seen_in_order() -> None:
    core = Core()
    core.create("namespaces", {"metadata": {"name": "n"}})
    core.create("configmaps", {"metadata": {"name": "c"}}, "n")
    after = core.objects.state.revision
    namespaces = core.objects.logs.of("namespaces").subscribe("", everything, after)
    maps = core.objects.logs.of("configmaps").subscribe("", everything, after)
    core.delete("namespaces", "n")
    assert seen(namespaces) == [("MODIFIED", after + 1), ("DELETED", after + 3)]
    assert seen(maps) == [("DELETED", after + 2)]


def test_a_watch_that_begins_with_a_list_ahead_of_the_events_sees_each_change_once() -> None:
    core = Core()
    waiting: list[Callable[[], None]] = []
    core.objects.later = waiting.append
    core.create("configmaps", {"metadata": {"name": "listed"}})
    assert core.names("configmaps") == ["listed"]
    ahead = core.objects.state.revision
    assert core.objects.published < ahead
    log = core.objects.logs.of("configmaps")
    with_list, from_before = log.subscribe("", everything, ahead), log.subscribe("", everything, ahead - 1)
    core.create("configmaps", {"metadata": {"name": "after"}})
    for tell in waiting:
        tell()
    assert seen(with_list) == [("ADDED", ahead + 1)]
    assert seen(from_before) == [("ADDED", ahead), ("ADDED", ahead + 1)]
    assert core.objects.published == ahead + 1
