"""Which images go, in which order, and what the Node says of those that stay."""

import pytest

from edge_gateway.edged import image_garbage
from edge_gateway.edged.image_garbage import Disk, Image, ImageGarbage


def image(name: str, size: int = 10, containers: int = 0, digest: str = "") -> Image:
    tag = f"localhost/{name}:1"
    return Image(f"{name:0>64}", (tag,), (digest or f"localhost/{name}@sha256:{name}",), size, containers)


def names(images: object) -> list[str]:
    assert isinstance(images, list)
    return [one.id.lstrip("0") for one in images]


def test_what_was_not_used_for_longest_goes_first() -> None:
    garbage = ImageGarbage((), 120, 0)
    a, b, c = image("a"), image("b"), image("c")
    garbage.look([a, b, c], ["localhost/a:1"], 1000)
    garbage.look([a, b, c], ["localhost/b:1"], 2000)
    assert names(garbage.look([a, b, c], [], 3000)) == ["c", "a", "b"]


def test_what_containers_use_what_pods_name_and_what_is_pinned_stays() -> None:
    garbage = ImageGarbage(("localhost/kept*",), 0, 0)
    pause = Image("9" * 64, ("localhost/podman-pause:4.3.1-0",), (), 1, 0)
    images = [image("used", containers=1), image("named"), image("kept-1"), pause, image("free")]
    assert names(garbage.look(images, ["localhost/named:1"], 0)) == ["free"]


@pytest.mark.parametrize(
    "name",
    [
        "app:1",
        "docker.io/library/app:1",
        f"{'a':0>64}",
        f"sha256:{'a':0>64}",
        "app@sha256:77",
        "docker.io/library/app:2@sha256:77",
    ],
)
def test_a_pod_may_call_its_image_by_any_of_its_names(name: str) -> None:
    known = Image(f"{'a':0>64}", ("docker.io/library/app:1",), ("docker.io/library/app@sha256:77",), 1, 0)
    assert known.is_called(name)
    assert not known.is_called("app:3")
    assert not known.is_called("other/app:1")
    assert not known.is_called("app")


def test_what_came_a_moment_ago_stays_and_what_was_there_before_edgecore_does_not() -> None:
    garbage = ImageGarbage((), 120, 0)
    garbage.look([image("before")], [], 5)
    free = garbage.look([image("before"), image("fresh")], [], 10)
    assert names(list(garbage.to_remove(free, 10))) == ["before"]
    assert names(list(garbage.to_remove(free, 129))) == ["before"]
    assert sorted(names(list(garbage.to_remove(free, 130)))) == ["before", "fresh"]


def test_images_go_by_age_only_where_that_is_asked_for() -> None:
    garbage, never = ImageGarbage((), 0, 3600), ImageGarbage((), 0, 0)
    for one in (garbage, never):
        one.look([image("a"), image("b")], ["localhost/b:1"], 0)
        one.look([image("a"), image("b")], ["localhost/b:1"], 3000)
    free = garbage.look([image("a"), image("b")], [], 3601)
    assert names(garbage.old(free, 3601)) == ["a"]
    assert never.old(never.look([image("a")], [], 9999), 9999) == []


def test_the_disk_is_counted_as_kubelet_does() -> None:
    disk = Disk(1000, 149)
    assert disk.used_percent == 86
    assert disk.too_much(80) == 51
    assert Disk(1000, 900).too_much(80) == 0


def test_the_node_tells_of_its_fifty_largest_images_and_of_five_names_of_each() -> None:
    many = [image(f"i{number}", size=number) for number in range(60)]
    many[59] = many[59]._replace(tags=tuple(f"localhost/i:{number}" for number in range(9)))
    told = image_garbage.status(many)
    assert [one["size_bytes"] for one in told] == list(range(59, 9, -1))
    assert told[0]["names"] == ["localhost/i59@sha256:i59", *(f"localhost/i:{number}" for number in range(4))]
