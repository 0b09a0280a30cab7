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
