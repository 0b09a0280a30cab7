import json
from base64 import b64encode

import msgspec
import pytest

from edge_gateway.firmware_updates import GETS_A_TICK
from edge_gateway.meta_manager import MetaError
from edge_gateway.tests.firmware_site import GOOD, NAME, Devices, Site, a_plan
from edgewire import resource
from edgewire.ota import MAX_CHUNK, PROPERTIES
from edgewire.rollout import PART_SIZE, Failure, Wave
from edgewire.tests.firmware_image import firmware


def test_nothing_is_offered_before_the_image_is_whole() -> None:
    site = Site("a")
    site.plan(a_plan(["a"]))
    site.image(parts=2)
    assert site.offered() == []
    assert site.report().missing == "2 of 3 parts are here"
    site.image()
    assert site.report().missing == ""
    assert site.offers == [
        (
            "a",
            {
                "id": GOOD.image.id,
                "size": GOOD.image.manifest_size,
                "signature": GOOD.image.signature,
                "version": "1.4.0",
                "counter": 7,
            },
        )
    ]


@pytest.mark.parametrize("broken", [0, 1])
def test_an_image_that_is_not_what_its_plan_says_is_offered_to_nobody(broken: int) -> None:
    site = Site("a")
    parts = list(GOOD.parts)
    parts[broken] = parts[broken][:-1] + b"\0"
    site.image(GOOD._replace(parts=parts))
    site.plan(a_plan(["a"]))
    site.wait(60)
    assert site.offered() == []
    assert "is another one" in site.report().missing


def test_a_device_goes_from_offered_to_updated() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    assert site.counts() == {"offered": 1}
    for state, phase in (("downloading", "downloading"), ("trial", "trial"), ("confirmed", "updated")):
        site.says("a", state)
        assert site.counts() == {phase: 1}
    assert site.report().done == 1


def test_a_device_reads_the_whole_image_piece_by_piece() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    found = b""
    while piece := site.get("a", len(found), 700):
        found += piece
    assert found == GOOD.stream
    assert site.get("a", 0, MAX_CHUNK) == GOOD.stream[:MAX_CHUNK]
    assert site.get("a", 1 << 20, 10) == b""


def test_only_who_is_offered_an_image_may_fetch_it() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a"]))
    assert site.get("b", 0, 100) == b""
    assert site.get("nobody", 0, 100) == b""
    assert site.get("a", 0, 100, firmware("2.0.0", 8)) == b""
    site.plan(a_plan(["a"], aborted=True))
    assert site.get("a", 0, 100) == b""


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"{}", b"[]", b'{"id":"zz","offset":0,"length":1}', b"\xff", None]
    + [
        json.dumps({"id": GOOD.image.id, "offset": offset, "length": length}).encode()
        for offset, length in ((-1, 1), (1 << 32, 1), (0, 0), (0, -5), (0.5, 1), (0, MAX_CHUNK + 1))
    ],
)
def test_a_request_that_is_none_is_refused_with_a_reason_and_not_answered(payload: bytes | None) -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.perform(site.updates.get("default/a", payload))
    assert site.chunks == []
    [why] = site.refused
    assert why.startswith("ota/get")


def test_a_device_that_asks_too_often_is_answered_again_a_second_later() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"]))
    for _ in range(GETS_A_TICK):
        assert site.get("a", 0, 1) is not None
    assert site.get("a", 0, 1) is None
    assert site.get("a", 0, 1) is None
    assert site.get("b", 0, 1) is not None
    assert len(site.refused) == 1
    site.wait(1)
    assert site.get("a", 0, 1) is not None


def test_as_many_devices_as_allowed_are_updated_at_a_time() -> None:
    site = Site("a", "b", "c")
    site.image()
    site.plan(a_plan(["a", "b", "c"], concurrency=2))
    assert site.offered() == ["a", "b"]
    site.says("a", "downloading")
    site.says("a", "trial")
    assert site.offered() == []
    site.says("a", "confirmed")
    assert site.offered() == ["c"]


def test_the_next_wave_opens_when_all_devices_of_the_last_are_finished_and_the_pause_is_over() -> None:
    site = Site("a", "b", "c")
    site.image()
    site.plan(a_plan(["a", "b"], ["c"], pause_s=30, max_failure_percent=50))
    site.says("a", "refused", reason="no-space")
    site.wait(60)
    assert site.report().open == 1
    site.updates_to("b")
    site.offered()
    site.wait(29)
    assert site.report().open == 1
    assert site.offered() == []
    site.wait(2)
    assert site.report().open == 2
    assert site.offered() == ["c"]


def test_a_wave_without_devices_takes_no_time() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a"], [], [], ["b"], pause_s=10))
    site.updates_to("a")
    site.offered()
    site.wait(11)
    assert site.offered() == ["b"]


def test_a_wave_with_devices_elsewhere_is_for_the_cloud_to_finish() -> None:
    site = Site("a", "b")
    site.image()
    waves = Wave(["a"], 3), Wave(["b"], 3)
    site.plan(a_plan(*waves))
    site.updates_to("a")
    site.wait(600)
    assert (site.report().open, site.report().done) == (1, 1)
    site.offered()
    site.plan(a_plan(*waves, open=2))
    assert site.offered() == ["b"]


def test_a_person_lets_the_next_wave_begin_where_that_is_asked_for() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a"], ["b"], manual=True))
    site.updates_to("a")
    site.wait(600)
    assert site.report().open == 1
    site.offered()
    site.plan(a_plan(["a"], ["b"], manual=True, approved=1))
    assert site.offered() == ["b"]


def test_a_paused_rollout_offers_nothing_new_and_lets_downloads_end() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"], concurrency=1))
    site.says("a", "downloading")
    site.offered()
    site.plan(a_plan(["a", "b"], concurrency=1, paused=True))
    assert site.get("a", 0, 10) == GOOD.stream[:10]
    site.updates_to("a")
    site.wait(60)
    assert site.offered() == []
    site.plan(a_plan(["a", "b"], concurrency=1))
    assert site.offered() == ["b"]


def test_an_aborted_rollout_takes_back_its_offers() -> None:
    site = Site("a", "b", "c")
    site.image()
    site.plan(a_plan(["a", "b", "c"]))
    site.says("a", "downloading")
    site.says("b", "trial")
    site.offered()
    site.plan(a_plan(["a", "b", "c"], aborted=True))
    assert site.offered() == ["-a", "-c"]
    assert site.counts() == {"pending": 2, "trial": 1}
    site.wait(60)
    assert site.offered() == []


def test_too_many_failures_stop_the_rollout() -> None:
    site = Site(*"abcde")
    site.image()
    site.plan(a_plan(list("abcd"), ["e"], max_failure_percent=25, concurrency=3))
    site.says("a", "reverted", reason="watchdog")
    assert not site.report().stopped
    assert site.offered() == ["a", "b", "c", "d"]
    site.says("b", "downloading")
    site.says("c", "refused", reason="checksum")
    assert site.offered() == ["-b", "-d"]
    report = site.report()
    assert report.stopped
    assert report.failures == [Failure("a", "watchdog"), Failure("c", "checksum")]
    site.wait(100)
    assert site.offered() == []
    assert site.get("b", 0, 10) == b""


def test_another_attempt_is_made_with_those_that_failed_and_those_that_waited() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"], concurrency=1, max_failure_percent=0))
    site.says("a", "refused", reason="no-space")
    assert site.report().stopped
    site.offered()
    site.plan(a_plan(["a", "b"], concurrency=2, max_failure_percent=0, retry=1))
    assert not site.report().stopped
    assert site.offered() == ["a", "b"]
    assert site.counts() == {"offered": 2}
    site.says("a", "refused", reason="no-space")  # it says what it said
    assert site.counts() == {"offered": 2}
    site.says("a", "downloading")
    site.says("a", "refused", reason="no-space")
    assert site.counts() == {"failed": 1, "pending": 1}


def test_a_device_that_vanishes_in_the_middle_fails_after_a_while() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"], timeout_s=60, max_failure_percent=100))
    site.says("a", "downloading")
    site.goes("a", online=False)
    site.wait(50)
    site.get("a", 0, 10)  # it fetches: not gone
    site.wait(59)
    assert site.counts() == {"downloading": 1}
    site.wait(2)
    assert site.report().failures == [Failure("a", "timeout")]
    site.perform(site.updates.changed("default/a"))  # it reports something else, and the same of its firmware
    assert site.counts() == {"failed": 1}
    site.says("a", "confirmed")
    assert site.counts() == {"updated": 1}


def test_a_device_that_is_away_when_its_turn_comes_is_skipped_and_served_when_it_is_back() -> None:
    site = Site("a", "b", "c")
    site.goes("a", online=False)
    site.image()
    site.plan(a_plan(["a", "b"], ["c"], timeout_s=60))
    site.updates_to("b")
    site.wait(59)
    assert site.counts() == {"pending": 2, "updated": 1}
    site.wait(2)
    assert site.report().open == 2
    assert site.offered() == ["b", "c"]
    site.goes("a", online=True)
    assert site.offered() == ["a"]


def test_a_device_that_comes_back_is_told_again_what_is_offered() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.says("a", "downloading")
    site.offered()
    site.goes("a", online=False)
    site.goes("a", online=True)
    assert site.offered() == ["a"]


def test_an_offer_that_nobody_takes_up_is_repeated() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.offered()
    site.wait(29)
    assert site.offered() == []
    site.wait(2)
    assert site.offered() == ["a"]


def test_a_device_without_the_properties_is_skipped_until_its_model_has_them() -> None:
    site = Site("a")
    site.devices.values["default/a"] = {}
    site.image()
    site.plan(a_plan(["a"]))
    assert site.counts() == {"skipped": 1}
    site.devices.values["default/a"] = dict.fromkeys(PROPERTIES, "")
    site.perform(site.updates.changed("default/a"))
    assert site.offered() == ["a"]


def test_a_device_that_was_flashed_with_the_version_needs_nothing() -> None:
    site = Site("a")
    site.devices.values["default/a"] |= {"firmware": "1.4.0", "firmware-state": "idle"}
    site.image()
    site.plan(a_plan(["a"]))
    assert site.offered() == []
    assert site.counts() == {"updated": 1}


def test_a_device_in_recovery_is_offered_the_image_again() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.says("a", "trial")
    site.offered()
    site.says("a", "recovery")
    assert site.offered() == ["a"]


def test_the_rollout_with_the_higher_counter_decides_about_a_device() -> None:
    site = Site("a", "b")
    newer = firmware("1.5.0", 8)
    site.image()
    site.image(newer)
    site.plan(a_plan(["a", "b"]))
    site.says("a", "downloading")
    site.offered()
    site.plan(a_plan(["a"], of=newer, name="newer"))
    assert [(name, offer["version"]) for name, offer in site.offers] == [("a", "1.5.0")]
    assert site.counts() == {"offered": 1, "skipped": 1}
    assert site.get("a", 0, 10) == b""
    assert site.get("a", 0, 10, newer) == newer.stream[:10]
    site.offered()
    site.remove(resource.ROLLOUT, "default/newer")
    assert site.offered() == ["-a"]
    site.says("a", "idle")
    assert site.offered() == ["a"]


def test_a_rollout_that_is_deleted_takes_back_its_offers_and_leaves_nothing() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.offered()
    site.remove(resource.ROLLOUT, NAME)
    assert site.offered() == ["-a"]
    assert not any(table == "rollout" for table, _ in site.rows)
    for name in GOOD.objects():
        site.remove(resource.FIRMWARE_PART, f"default/{name}")
    assert site.rows == {}


def test_a_rollout_goes_on_after_a_restart_where_it_was() -> None:
    site = Site("a", "b", "c", "d")
    site.image()
    site.plan(a_plan(["a", "b"], ["c", "d"], max_failure_percent=60))
    site.updates_to("a")
    site.says("b", "reverted", reason="not-confirmed")
    site.says("c", "downloading")
    site.offered()
    before = site.report()
    site.restart()
    assert site.report() == before
    assert site.get("c", 100, 10) == GOOD.stream[100:110]
    site.goes("d", online=True)
    assert site.offered() == ["d"]


def test_a_stopped_rollout_is_stopped_after_a_restart() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"], concurrency=1, max_failure_percent=0))
    site.says("a", "refused", reason="wrong-board")
    site.restart()
    site.offered()
    site.wait(60)
    assert site.offered() == []
    assert site.report().stopped


def test_a_device_that_timed_out_is_not_taken_up_again_by_a_restart() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"], timeout_s=5, max_failure_percent=100))
    site.says("a", "downloading")
    site.wait(6)
    assert site.counts() == {"failed": 1}
    site.restart()
    site.perform(site.updates.changed("default/a"))
    assert site.counts() == {"failed": 1}


def test_a_rollout_of_another_image_under_the_same_name_begins_anew() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.updates_to("a")
    newer = firmware("1.5.0", 8)
    site.image(newer)
    site.plan(a_plan(["a"], of=newer))
    assert site.counts() == {"offered": 1}


def test_a_device_that_leaves_the_plan_is_offered_nothing_any_more() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"]))
    site.offered()
    site.plan(a_plan(["b"]))
    assert site.offered() == ["-a"]
    assert ("rollout", f"{NAME}/a") not in site.rows


def test_a_clock_that_is_set_times_nobody_out() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"], timeout_s=60))
    for jump in (10**12, -(10**12)):
        site.now += jump
        site.wait(10)
    assert site.counts() == {"offered": 1}


@pytest.mark.parametrize(
    "content",
    [b"{}", b"x", msgspec.json.encode(a_plan(["a"], name="other"))],
)
def test_a_plan_that_cannot_be_used_is_refused(content: bytes) -> None:
    with pytest.raises(MetaError):
        Site("a").updates.put(resource.of_id(resource.ROLLOUT, NAME), content)


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"binaryData":{}}',
        b'{"binaryData":{"a":"AA==","b":"AA=="}}',
        b"x",
        b'{"binaryData":{"a":"%s"}}' % b64encode(bytes(PART_SIZE + 1)),  # two hundred of them would fill a gateway
    ],
    ids=["nothing", "no part", "two parts", "no json", "too large"],
)
def test_a_part_that_cannot_be_used_is_refused(content: bytes) -> None:
    with pytest.raises(MetaError):
        Site("a").updates.put(resource.of_id(resource.FIRMWARE_PART, "default/p"), content)


def test_a_device_that_is_not_here_yet_waits() -> None:
    site = Site()
    site.image()
    site.plan(a_plan(["a"]))
    assert site.counts() == {"pending": 1}
    site.devices = Devices()
    assert site.offered() == []


def test_a_report_that_says_nothing_new_of_firmware_changes_nothing() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"]))
    site.says("a", "downloading")
    effects = site.updates.changed("default/a")
    assert (effects.changes, effects.publishes, effects.dirty) == ([], [], [])


@pytest.mark.parametrize("row", [b"x", b'{"uid":"another"}'])
def test_rows_that_cannot_be_used_are_dropped_and_the_rollout_begins_anew(row: bytes) -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a", "b"]))
    site.rows["rollout", NAME] = row
    site.rows["rollout", f"{NAME}/gone"] = b"{}"
    site.restart()
    assert site.counts() == {"offered": 2}
    assert ("rollout", f"{NAME}/gone") not in site.rows


def test_rows_of_a_rollout_that_is_gone_are_dropped() -> None:
    site = Site("a")
    site.rows["rollout", "default/old"] = site.rows["rollout", "default/old/a"] = b"{}"
    site.restart()
    assert site.rows == {}


def test_a_device_that_was_told_that_there_is_nothing_is_not_one_that_failed() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"], max_failure_percent=0))
    site.says("a", "downloading")
    site.plan(a_plan(["a"], max_failure_percent=0, aborted=True))
    assert site.get("a", 100, 10) == b""
    site.says("a", "refused", reason="gone")
    assert site.counts() == {"pending": 1}
    site.offered()
    site.plan(a_plan(["a"], max_failure_percent=0, retry=1))
    assert site.offered() == ["a"]


def test_a_device_that_fetches_for_ever_does_not_hold_the_others_up() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a"], ["b"], timeout_s=60, max_failure_percent=100))
    site.says("a", "downloading")
    for _ in range(21):
        site.get("a", 0, 1)
        site.wait(30)
    assert site.report().failures == [Failure("a", "timeout")]
    assert site.offered()[-1] == "b"


def test_a_device_that_changes_its_mind_for_ever_does_not_hold_the_others_up() -> None:
    site = Site("a", "b")
    site.image()
    site.plan(a_plan(["a"], ["b"], timeout_s=60, pause_s=20, max_failure_percent=100))
    for turn in range(100):
        site.says("a", ("confirmed", "downloading", "idle")[turn % 3], progress=str(turn))
        site.wait(10)
        if site.report().open == 2:
            break
    assert site.report().open == 2
    site.says("a", "downloading", progress="1")
    site.wait(1)
    assert site.counts()["failed"] == 1


def test_a_device_that_is_updated_may_take_its_time_again_later() -> None:
    site = Site("a")
    site.image()
    site.plan(a_plan(["a"], timeout_s=60))
    site.updates_to("a")
    site.wait(700)
    site.says("a", "idle", firmware("1.0.0", 1), version="flashed")
    site.wait(1)
    assert site.counts() == {"offered": 1}
