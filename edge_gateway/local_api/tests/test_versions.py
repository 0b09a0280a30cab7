"""Resource versions, and what a watch is told, by plain calls."""

from edge_gateway.local_api.versions import DELETIONS_LIMIT, Versions
from edgewire.resource import Resource


def pod(name: str) -> Resource:
    return Resource("default", "pod", name)


def test_what_was_born_and_died_between_two_looks_is_deleted_only() -> None:
    versions = Versions(100)
    versions.touch(pod("a"), True)
    versions.touch(pod("a"), False)
    (change,) = versions.since(100, lambda name: True)
    assert (change.name, change.gone) == (pod("a"), True)


def test_what_died_and_came_again_is_deleted_and_then_new() -> None:
    versions = Versions(100)
    versions.begin([pod("a")])
    versions.touch(pod("a"), False)
    versions.touch(pod("a"), True)
    assert [(c.gone, c.new) for c in versions.since(100, lambda name: True)] == [(True, False), (False, True)]


def test_deletions_are_remembered_within_bounds() -> None:
    versions = Versions(100)
    for number in range(DELETIONS_LIMIT + 1):
        versions.touch(pod(str(number)), True)
        versions.touch(pod(str(number)), False)
    assert not versions.can_tell_since(100)
    assert versions.can_tell_since(versions.newest)
    assert len(versions.since(0, lambda name: True)) == DELETIONS_LIMIT


def test_what_was_never_there_does_not_go() -> None:
    versions = Versions(100)
    versions.touch(pod("a"), False)
    assert versions.newest == 100
