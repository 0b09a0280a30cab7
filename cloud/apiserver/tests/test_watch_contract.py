"""Watches, on the embedded server, or `--kubeconfig FILE`."""

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cloud.apiserver.tests import http
from cloud.apiserver.tests.core import config_map
from cloud.apiserver.tests.http import Api, version_of


def test_a_watch_tells_of_each_change_once_and_in_order(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, resourceVersion=start, labelSelector="w=1") as watching:
        api.post(maps, config_map("other")).ok()
        api.post(maps, config_map("w", labels={"w": "1"})).ok()
        api.patch(f"{maps}/w", {"data": {"k": "2"}}).ok()
        api.patch(f"{maps}/w", {"metadata": {"labels": {"w": "2"}}}).ok()
        api.patch(f"{maps}/w", {"metadata": {"labels": {"w": "1"}}}).ok()
        api.delete(f"{maps}/w").ok()
        events = watching.take(5)
    assert [type for type, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    versions = [version_of(obj) for _, obj in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(start)


def test_a_watch_of_one_object_sees_nothing_else(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, resourceVersion=start, fieldSelector="metadata.name=one") as watching:
        api.post(maps, config_map("two")).ok()
        api.post(maps, config_map("one")).ok()
        (event,) = watching.take(1)
    assert event[1]["metadata"]["name"] == "one"


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api, maps: str) -> None:
    for name in ("a", "b"):
        api.post(maps, config_map(name, labels={"there": "1"})).ok()
    with api.watch(maps, labelSelector="there") as watching:
        assert sorted((t, o["metadata"]["name"]) for t, o in watching.take(2)) == [("ADDED", "a"), ("ADDED", "b")]
        api.delete(f"{maps}/a").ok()
        assert watching.take(1)[0][0] == "DELETED"


def test_a_watch_ends_with_its_timeout(api: Api, maps: str) -> None:
    begun = time.monotonic()
    with api.watch(maps, timeoutSeconds=1, allowWatchBookmarks="true") as watching:
        events = watching.rest()
    assert 0.5 < time.monotonic() - begun < 10
    assert {type for type, _ in events} <= {"ADDED", "BOOKMARK"}


def test_initial_events_end_with_a_marked_bookmark(api: Api, maps: str) -> None:
    api.post(maps, config_map("first", labels={"initial": "1"})).ok()
    query: dict[str, Any] = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    with api.watch(maps, labelSelector="initial", **query) as watching:
        assert watching.next()[0] == "ADDED"
        type, bookmark = watching.next()
        assert type == "BOOKMARK"
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert version_of(bookmark) > 0
        api.delete(f"{maps}/first").ok()
        assert watching.take(1)[0][0] == "DELETED"


def test_a_watch_from_a_version_long_gone_is_told_so(api: Api, maps: str) -> None:
    old = api.post(maps, config_map("grows")).ok()["metadata"]["resourceVersion"]
    for number in range(
        14
    ):  # more than the embedded server keeps; a cluster keeps minutes, but nothing of its first day
        api.patch(f"{maps}/grows", {"data": {"k": str(number) * 700_000}}).ok()
    embedded = int(old) < 100_000
    with api.watch(maps, resourceVersion=old if embedded else "1") as watching:
        if watching.code == 410:
            body = json.loads(watching.response.read())
        else:
            type, body = watching.next()
            assert type == "ERROR"
        assert (body["kind"], body["code"], body["reason"]) == ("Status", 410, "Expired")


def test_a_watch_of_a_table_sends_rows(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, accept=http.TABLE, resourceVersion=start) as watching:
        for name in ("t1", "t2"):
            api.post(maps, config_map(name)).ok()
        (_, first), (_, second) = watching.take(2)
    assert [first["kind"], second["kind"]] == ["Table", "Table"]
    assert first["rows"][0]["cells"][0] == "t1"
    assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert not second["columnDefinitions"]


def test_a_list_and_a_watch_from_its_version_lose_and_double_nothing(kubeconfig: Path, api: Api, maps: str) -> None:
    """Listing at any moment while others write, and watching from there, must give every change exactly once."""
    stop = threading.Event()
    written: dict[str, int] = {}

    def write(writer: int) -> None:
        own = Api(kubeconfig)
        number = 0
        while not stop.is_set():
            name = f"w{writer}-{number % 4}"
            answer = own.patch(f"{maps}/{name}", {"data": {"n": str(number)}})
            if answer.code == 404:
                answer = own.post(maps, config_map(name, str(number)))
            elif number % 7 == 6:
                own.delete(f"{maps}/{name}").ok()
                written.pop(name, None)
                number += 1
                continue
            written[name] = version_of(answer.ok())
            number += 1
        own.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        followers = [_Follower(kubeconfig, maps) for _ in range(4)]
        for follower in followers:
            follower.join(20)
            assert not follower.is_alive()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for follower in followers:
        assert follower.problems == []
        assert follower.events > 20


class _Follower(threading.Thread):
    """Lists, watches for a second, and checks each event against what it knows by then."""

    def __init__(self, kubeconfig: Path, path: str) -> None:
        super().__init__()
        self._api = Api(kubeconfig)
        self._path = path
        self.problems: list[str] = []
        self.events = 0
        self.start()

    def run(self) -> None:
        listed = self._api.get(self._path).ok()
        known = {item["metadata"]["name"]: version_of(item) for item in listed["items"]}
        last = version_of(listed)
        with self._api.watch(self._path, resourceVersion=last, timeoutSeconds=1) as watching:
            for type, obj in watching.rest():
                self.events += 1
                name, version = obj["metadata"]["name"], version_of(obj)
                if version <= last:
                    self.problems.append(f"{type} {name} at {version} after {last}")
                last = version
                if (type == "ADDED") is (name in known):
                    self.problems.append(f"{type} of {name}, which was {'' if name in known else 'not '}there")
                if type == "DELETED":
                    known.pop(name, None)
                else:
                    known[name] = version
        # What a list says now must be reachable from what the watch said, by versions newer than it only.
        after = self._api.get(self._path).ok()
        for item in after["items"]:
            name, version = item["metadata"]["name"], version_of(item)
            if version <= last and known.get(name) != version:
                self.problems.append(f"{name} at {version} was never told of")
        self._api.close()


def test_many_watches_see_the_same(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with ExitStack() as stack:
        watches = [stack.enter_context(api.watch(maps, resourceVersion=start)) for _ in range(20)]
        for name in ("m1", "m2", "m3"):
            api.post(maps, config_map(name)).ok()
        found = [[obj["metadata"]["name"] for _, obj in watching.take(3)] for watching in watches]
    assert found == [["m1", "m2", "m3"]] * 20
