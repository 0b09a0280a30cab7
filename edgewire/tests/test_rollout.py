import msgspec
import pytest

from edgewire import ota, rollout
from edgewire.rollout import Metadata, Plan, RolloutError, Wave
from edgewire.tests.firmware_image import firmware

IMAGE = firmware().image
PLAN = Plan(Metadata("default", "new", "u1"), "edge1", "2026-11-01T00:00:00Z", IMAGE, [Wave(["a"], 2), Wave(["b"])])


@pytest.mark.parametrize(
    ("state", "target", "version", "reason", "expected"),
    [
        ("downloading", IMAGE.target, "1.3.0", "none", ("downloading", "")),
        ("trial", IMAGE.target, "1.4.0", "none", ("trial", "")),
        ("confirmed", IMAGE.target, "1.4.0", "none", ("updated", "")),
        ("reverted", IMAGE.target, "1.3.0", "watchdog", ("failed", "watchdog")),
        ("refused", IMAGE.target, "1.3.0", "none", ("failed", "refused")),
        ("refused", IMAGE.target, "1.3.0", "gone", None),
        ("idle", IMAGE.target, "1.3.0", "stopped", None),
        ("recovery", IMAGE.target, "0", "no-image", None),
        ("confirmed", "0123456789abcdef", "1.4.0", "none", None),
        ("downloading", "0123456789abcdef", "1.3.0", "none", None),
        ("idle", "none", "1.4.0", "none", ("updated", "")),
        ("idle", "", "1.3.0", "", None),
        ("", "", "", "", None),
    ],
)
def test_a_phase_follows_from_what_a_device_reports(
    state: str, target: str, version: str, reason: str, expected: tuple[str, str] | None
) -> None:
    values = {ota.FIRMWARE_STATE: state, ota.FIRMWARE_TARGET: target}
    assert rollout.phase_of(IMAGE, {**values, ota.FIRMWARE: version, ota.FIRMWARE_REASON: reason}) == expected


def test_a_plan_has_a_version_of_its_own_for_each_thing_it_says() -> None:
    version, content = rollout.encode_plan(PLAN)
    assert rollout.parse_plan(content).metadata.resource_version == version
    assert rollout.encode_plan(PLAN)[0] == version
    for other in ({"open": 2}, {"retry": 1}, {"node": "edge2"}, {"waves": PLAN.waves[:1]}):
        assert rollout.encode_plan(msgspec.structs.replace(PLAN, **other))[0] != version


def test_devices_of_open_waves_are_counted_wherever_they_are() -> None:
    assert [PLAN.opened(open) for open in (0, 1, 2, 3)] == [0, 3, 4, 4]


def test_of_two_plans_the_one_with_the_higher_counter_is_greater_then_the_later() -> None:
    later = msgspec.structs.replace(PLAN, created="2026-11-02T00:00:00Z")
    higher = msgspec.structs.replace(PLAN, image=msgspec.structs.replace(IMAGE, counter=8))
    assert PLAN.order < later.order < higher.order


@pytest.mark.parametrize(
    ("failed", "of", "percent", "expected"), [(1, 5, 20, False), (2, 5, 20, True), (1, 9, 0, True), (9, 9, 100, False)]
)
def test_too_many_is_more_than_may(failed: int, of: int, percent: int, expected: bool) -> None:
    assert rollout.too_many(failed, of, percent) is expected


@pytest.mark.parametrize(
    "image",
    [
        *({"id": "x"}, {"id": "Z" * 64}, {"signature": "5e"}, {"size": 0}, {"size": 1 << 30}),
        *({"parts": 0}, {"parts": 5000}, {"manifest_size": IMAGE.size + 1}),
    ],
)
def test_a_plan_with_an_impossible_image_is_refused(image: dict[str, object]) -> None:
    broken = msgspec.structs.replace(PLAN, image=msgspec.structs.replace(IMAGE, **image))
    with pytest.raises(RolloutError, match="image"):
        rollout.parse_plan(rollout.encode_plan(broken)[1])


def test_an_offer_is_what_the_board_reads() -> None:
    offer = ota.parse_offer(rollout.offer_of(msgspec.structs.replace(PLAN, retry=2)))
    assert offer is not None
    assert (offer.id, offer.size, offer.version, offer.counter, offer.retry) == (
        IMAGE.id,
        IMAGE.manifest_size,
        "1.4.0",
        7,
        2,
    )
