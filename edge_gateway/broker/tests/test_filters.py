"""Topic names, filters, and the tree of subscriptions. The matching table is shared with the conformance suite."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gateway.broker.filters import MAX_LEVELS, FilterTree, covers, filter_fault, matches, overlap, topic_fault
from edge_gateway.broker.tests.matching import MATCHES, MISSES

levels = st.sampled_from(["", "a", "b", "$hw"])
names = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def filters(draw: st.DrawFn) -> str:
    parts = draw(st.lists(levels | st.just("+"), max_size=4))
    if draw(st.booleans()) or not "/".join(parts):
        parts.append("#")
    return "/".join(parts)


@pytest.mark.parametrize(("name_filter", "topic"), MATCHES)
def test_a_filter_matches(name_filter: str, topic: str) -> None:
    assert matches(name_filter, topic)


@pytest.mark.parametrize(("name_filter", "topic"), MISSES)
def test_a_filter_does_not_match(name_filter: str, topic: str) -> None:
    assert not matches(name_filter, topic)


@given(st.lists(st.tuples(filters(), st.integers(0, 9), st.integers(0, 1)), max_size=20), names)
def test_the_tree_finds_whom_trying_every_filter_finds(subscriptions: list[tuple[str, int, int]], topic: str) -> None:
    tree: FilterTree[int] = FilterTree()
    current = {}
    for name_filter, subscriber, qos in subscriptions:
        tree.add(name_filter, subscriber, qos)
        current[name_filter, subscriber] = qos
    expected: dict[int, int] = {}
    for (name_filter, subscriber), qos in current.items():
        if matches(name_filter, topic):
            expected[subscriber] = max(qos, expected.get(subscriber, 0))
    assert tree.match(topic) == expected


@given(st.lists(filters(), max_size=20, unique=True), st.data())
def test_an_unsubscribed_filter_leaves_nothing_in_the_tree(subscribed: list[str], data: st.DataObject) -> None:
    tree: FilterTree[int] = FilterTree()
    for name_filter in subscribed:
        tree.add(name_filter, 1, 0)
    for name_filter in data.draw(st.permutations(subscribed)):
        assert any(tree.match(topic) for topic in _examples(name_filter))
        tree.remove(name_filter, 1)
        tree.remove(name_filter, 1)
    assert not tree._root.children


def _examples(name_filter: str) -> list[str]:
    topic = name_filter.replace("+", "a").replace("#", "b")
    return [topic, topic.removesuffix("/b") or "/"]


@given(filters(), filters(), names)
def test_a_filter_that_covers_another_matches_all_that_it_matches(allowed: str, asked: str, topic: str) -> None:
    if covers(allowed, asked) and matches(asked, topic):
        assert allowed == "#" or matches(allowed, topic)


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [
        ("#", "$hw/a"),
        ("#", "#"),
        ("a/#", "a"),
        ("a/#", "a/+/#"),
        ("a/+", "a/b"),
        ("a/+/c", "a/+/c"),
        ("$hw/#", "$hw/+/x"),
    ],
)
def test_permission_covers_what_lies_within_it(allowed: str, asked: str) -> None:
    assert covers(allowed, asked)


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [
        ("a/+", "a/#"),
        ("a/b", "a/+"),
        ("a/#", "#"),
        ("a/#", "+/b"),
        ("+/#", "$hw/x"),
        ("a/+", "a/b/c"),
        ("a/b/c", "a/b"),
    ],
)
def test_permission_does_not_cover_what_reaches_beyond_it(allowed: str, asked: str) -> None:
    assert not covers(allowed, asked)


@pytest.mark.parametrize("name", ["", "a+", "a/#", "a\0", "/" * MAX_LEVELS])
def test_such_a_name_is_no_topic(name: str) -> None:
    assert topic_fault(name)


@pytest.mark.parametrize("name", ["", "#/a", "a#", "a/b#", "+a", "a/b+/c", "a\0", "/" * MAX_LEVELS])
def test_such_a_name_is_no_filter(name: str) -> None:
    assert filter_fault(name)


@pytest.mark.parametrize("name", ["a", "/", "#", "+", "+/+", "/#", "a//b", "$hw/+/#", " "])
def test_such_a_name_is_a_filter(name: str) -> None:
    assert filter_fault(name) is None


@given(filters(), filters(), st.lists(names, max_size=30))
def test_filters_that_share_a_topic_overlap(one: str, other: str, topics: list[str]) -> None:
    shared = [topic for topic in (*topics, *_examples(one), *_examples(other)) if matches(one, topic)]
    if any(matches(other, topic) for topic in shared):
        assert overlap(one, other)
        assert overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "b"), ("a/+", "a"), ("a/b", "a/+/c"), ("#", "$hw/a"), ("+/a", "$hw/#"), ("$hw/#", "#"), ("a/#", "b/#")],
)
def test_filters_without_a_shared_topic_do_not_overlap(one: str, other: str) -> None:
    assert not overlap(one, other)
    assert not overlap(other, one)


@given(st.lists(filters(), max_size=20), st.data())
def test_a_tree_knows_what_it_takes_and_nothing_is_left_of_it(subscribed: list[str], data: st.DataObject) -> None:
    tree: FilterTree[int] = FilterTree()
    taken = [tree.bytes]
    for name_filter in subscribed:
        tree.add(name_filter, 1, 0)
        taken.append(tree.bytes)
    assert taken == sorted(taken)
    for name_filter in data.draw(st.permutations(subscribed)):
        tree.remove(name_filter, 1)
    assert tree.bytes == 0
