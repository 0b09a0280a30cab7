"""Label and field selectors."""

import pytest

from cloud.apiserver import selectors
from cloud.apiserver.status import ApiError

LABELS = {"app": "web", "tier": "front", "n": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=web,tier=back", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db),tier", True),
        ("missing notin (x)", True),
        ("n>4", True),
        ("n<5", False),
        ("app>4", False),
        ("x.io/y=", False),
        ("app = web , tier = front", True),
    ],
)
def test_a_label_selector_selects(text: str, matches: bool) -> None:
    assert selectors.parse(text, "", frozenset()).matches(LABELS, {}) is matches


@pytest.mark.parametrize("text", ["app in web", "(", "a=b c", "app>x", ",", "a=b,,c", "!"])
def test_a_label_selector_that_cannot_be_read_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse(text, "", frozenset())
    assert caught.value.code == 400


def test_a_selector_that_fails_late_fails_as_fast() -> None:
    # Nothing in it is tried twice: with a way back, a hundred thousand blanks take minutes.
    for text in ("a" + " " * 100_000 + "!", "!" + " " * 100_000 + "(", "a in" + " " * 100_000 + "b"):
        with pytest.raises(ApiError):
            selectors.parse(text, "", frozenset())


def test_a_selector_has_a_bounded_number_of_requirements() -> None:
    limit = selectors.TERMS_LIMIT
    assert selectors.parse(",".join(["!x"] * limit), "", frozenset()).matches(LABELS, {})
    for labels, fields in ((",".join(["!x"] * (limit + 1)), ""), ("", ",".join(["metadata.name!=x"] * (limit + 1)))):
        with pytest.raises(ApiError, match="at most 256 requirements"):
            selectors.parse(labels, fields, frozenset({"metadata.name"}))


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=x", True),
        ("metadata.name==x", True),
        ("metadata.name!=x", False),
        ("metadata.name=x,status.phase!=Failed", True),
        ("status.phase=", True),
        ("spec.nodeName=", False),
    ],
)
def test_a_field_selector_selects(text: str, matches: bool) -> None:
    known = frozenset({"metadata.name", "status.phase", "spec.nodeName"})
    assert selectors.parse("", text, known).matches({}, {"metadata.name": "x", "spec.nodeName": "n"}) is matches


@pytest.mark.parametrize("text", ["metadata.name", "spec.other=x"])
def test_a_field_that_cannot_be_selected_by_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse("", text, frozenset({"metadata.name"}))
    assert caught.value.code == 400
