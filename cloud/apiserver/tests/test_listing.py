"""Lists, whole and in pages, in the core."""

import base64

import msgspec
import pytest

from cloud.apiserver import selectors
from cloud.apiserver.listing import KEPT_LISTS, ListOptions, Page
from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core


@pytest.fixture
def core() -> Core:
    core = Core()
    for number in range(5):
        core.create("configmaps", {"metadata": {"name": f"c{number}", "labels": {"odd": str(number % 2)}}})
    return core


def page(core: Core, limit: int = 2, token: str = "", **options: object) -> Page:
    chosen = ListOptions(limit=limit, continue_token=token, **options)  # type: ignore[arg-type]
    return core.lister.read(core.resource("configmaps"), "default", chosen)


def names(page: Page) -> list[str]:
    return [stored.name for stored in page.items]


def test_pages_together_are_the_list(core: Core) -> None:
    first = page(core)
    second = page(core, token=first.continue_token)
    third = page(core, token=second.continue_token)
    assert names(first) + names(second) + names(third) == ["c0", "c1", "c2", "c3", "c4"]
    assert [first.remaining, second.remaining, third.remaining] == [3, 1, 0]
    assert third.continue_token == ""


def test_all_pages_are_of_the_revision_of_the_first(core: Core) -> None:
    first = page(core)
    core.delete("configmaps", "c3")
    core.create("configmaps", {"metadata": {"name": "c9"}})
    second = page(core, limit=10, token=first.continue_token)
    assert names(second) == ["c2", "c3", "c4"]
    assert second.revision == first.revision < core.objects.state.revision


def test_a_list_that_is_no_longer_kept_is_gone_and_can_be_gone_on_with(core: Core) -> None:
    first = page(core)
    core.delete("configmaps", "c2")
    core.later(301)
    with pytest.raises(ApiError) as caught:
        page(core, token=first.continue_token)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    rest = page(core, limit=10, token=caught.value.metadata["continue"])
    assert names(rest) == ["c3", "c4"]
    assert rest.revision == core.objects.state.revision


def test_only_some_lists_are_kept(core: Core) -> None:
    tokens = [page(core).continue_token for _ in range(KEPT_LISTS + 1)]
    with pytest.raises(ApiError):
        page(core, token=tokens[0])
    assert names(page(core, token=tokens[-1])) == ["c2", "c3"]


def test_pages_of_a_selection_do_not_count_what_remains(core: Core) -> None:
    odd = selectors.parse("odd=0", "", frozenset())
    first = page(core, selector=odd)
    assert (names(first), first.remaining) == (["c0", "c2"], 0)
    assert names(page(core, token=first.continue_token, selector=odd)) == ["c4"]


def forged(number: int, at: int) -> str:
    """A continue token as a client can write it too."""
    return base64.urlsafe_b64encode(msgspec.json.encode({"number": number, "at": at, "after": ["", ""]})).decode()


def test_a_token_opens_no_list_of_another_kind_or_namespace(core: Core) -> None:
    # What a list may hold was decided by its path: an admin's list of Secrets is not to be had as a list of pods.
    core.create("secrets", {"metadata": {"name": "s0"}})
    core.create("secrets", {"metadata": {"name": "s1"}})
    core.lister.read(core.resource("secrets"), "default", ListOptions(limit=1))
    for plural, namespace in (("configmaps", "default"), ("secrets", ""), ("secrets", "kube-system")):
        with pytest.raises(ApiError) as caught:
            core.lister.read(core.resource(plural), namespace, ListOptions(continue_token=forged(1, 0)))
        assert caught.value.code == 400, (plural, namespace)
    assert names(core.lister.read(core.resource("secrets"), "default", ListOptions(continue_token=forged(1, 0))))


def test_a_token_opens_no_more_of_a_list_than_the_selector_lets_through(core: Core) -> None:
    # A node is let in for its selector, and could name the list of somebody who sees all.
    page(core)
    odd = selectors.parse("odd=1", "", frozenset())
    assert names(page(core, limit=0, token=forged(1, 0), selector=odd)) == ["c1", "c3"]
    first = page(core, limit=4, token=forged(1, 0), selector=odd)
    assert (names(first), first.remaining) == (["c1", "c3"], 0)
    assert names(page(core, limit=4, token=first.continue_token, selector=odd)) == []


@pytest.mark.parametrize("token", ["x", "e30", "bm90IGpzb24", forged(1, -3), forged(0, -1)])
def test_a_token_from_elsewhere_is_a_bad_request(core: Core, token: str) -> None:
    with pytest.raises(ApiError) as caught:
        page(core, token=token)
    assert caught.value.code == 400


def test_a_version_not_reached_yet_is_too_large(core: Core) -> None:
    with pytest.raises(ApiError) as caught:
        page(core, resource_version="999999")
    assert caught.value.code == 504


def test_an_exact_version_is_the_present_one_or_gone(core: Core) -> None:
    present = core.objects.state.revision
    assert page(core, limit=0, resource_version=str(present), exact=True).revision == present
    with pytest.raises(ApiError) as caught:
        page(core, resource_version=str(present - 1), exact=True)
    assert caught.value.code == 410
