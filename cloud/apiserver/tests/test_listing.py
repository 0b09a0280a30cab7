"""Lists, whole and in pages, in the core."""

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


@pytest.mark.parametrize("token", ["x", "e30", "bm90IGpzb24"])
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
