"""What either side sends and reads, held against golden messages and against a recorded KubeEdge."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from edgewire import board, device, message, methods, ota, resource, topics, twin
from edgewire.link import keepalive
from edgewire.message import Message
from edgewire.tests import golden
from edgewire.tests.golden import SAMPLES, sample
from edgewire.twin import Change, Member, Membership, StateContent, Twin, TwinError, UpdatedContent


def test_every_sample_is_held_against_something() -> None:
    names = {path.stem for path in SAMPLES.glob("*.json")}
    assert names == {*golden.BUILT, *golden.BOARD, *golden.WRITTEN_BY_CLIENTS}


@pytest.mark.parametrize("name", golden.BUILT)
def test_what_gateway_and_cloud_build_is_the_sample_byte_for_byte(name: str) -> None:
    assert golden.BUILT[name] == sample(name)


@pytest.mark.parametrize("name", golden.BOARD)
def test_what_a_board_builds_is_the_sample(name: str) -> None:
    built = json.loads(golden.BOARD[name])
    assert json.dumps(built) == json.dumps(json.loads(sample(name)))  # dumped again: the order of keys counts


# What is read from the samples


def test_a_report_is_read_with_values_and_source_times() -> None:
    report, errors = twin.parse_report(sample("report"))
    assert (report.event_id, report.timestamp, errors) == ("e1", golden.AT, [])
    temperature, power = report.twin["temperature"], report.twin["power"]
    assert temperature is not None
    assert temperature.reported == twin.Value("21.5 °C", twin.Stamp(golden.AT - 500))
    assert temperature.reported.at == golden.AT - 500
    assert power is not None
    assert power.reported is not None
    assert (power.reported.value, power.reported.at) == ("OFF", 0)


def test_a_report_may_desire_a_value_and_delete_another() -> None:
    power = twin.parse_report(sample("report-with-desired"))[0].twin["power"]
    assert power == Twin(twin.Value("ON"), twin.Value("OFF"), True, twin.TypeOf("string"))
    assert twin.parse_report(sample("delete"))[0].twin == {"temperature": None}


def test_a_state_and_a_request_are_read() -> None:
    assert twin.parse_state(sample("state")) == twin.StateReport("online", "s1", golden.AT)
    unwell = golden.UNWELL
    assert twin.parse_state(sample("state-unwell")) == twin.StateReport(
        "offline", "s1", golden.AT, unwell.reason, unwell.message, unwell.refused
    )
    assert twin.parse_request(sample("get")) == "e3"


def test_a_call_is_read() -> None:
    assert methods.parse_call(sample("method-call")) == golden.CALL
    assert board.refusal(sample("method-refusal")) == ("c1", 503, "the device is offline")
    assert board.refusal(sample("method-result")) is None


def test_a_board_reads_what_the_gateway_answers() -> None:
    assert board.delta(sample("delta")) == {"power": "ON"}
    assert board.desired(sample("get-result")) == {"power": "ON"}
    assert board.refusal(sample("refusal")) == ("e4", 400, "property 'temperature': 'hot' is not a number")
    assert board.refusal(sample("partly-refused")) == ("e4", 404, "property 'pwr' is not declared")
    assert board.refusal(sample("result")) is None
    assert board.refusal(sample("state-result")) is None


def test_a_mapper_reads_both_resources_of_a_device() -> None:
    assert device.parse_mapper_device(sample("mapper-device")) == golden.DEFINITION


def test_the_cloud_reads_what_changed_on_the_edge() -> None:
    got = message.decode(sample("edge_updated"))
    assert resource.parse_device_report(got.resource) == ("default/s1", resource.TWIN_UPDATED)
    content = got.read(UpdatedContent)
    assert (content.event_id, content.timestamp) == (golden.EVENT, golden.AT)
    power, speed = content.twin["power"], content.twin["speed"]
    assert power is not None
    assert power.reported is not None
    assert power.desired is not None
    assert (power.reported.value, power.desired.value, power.reported_version) == ("OFF", "ON", twin.Version(0, 7))
    assert speed is not None
    assert speed.desired is not None
    assert (speed.desired.value, speed.desired.at) == (msgspec.UNSET, golden.AT - 1000)
    assert content.twin["temperature"] is None


def test_the_cloud_reads_a_state_from_the_text_it_comes_in() -> None:
    content = message.decode(sample("state_update")).read(StateContent)
    assert content.device == twin.DeviceState("s1", "online", "2026-11-23T05:28:35Z")
    assert message.decode(sample("state_update-unwell")).read(StateContent).device == golden.UNWELL


def test_the_cloud_reads_inventory_and_machine() -> None:
    inventory = message.decode(sample("inventory"))
    assert (inventory.operation, inventory.resource) == (message.GET, resource.INVENTORY)
    assert inventory.read(dict[str, dict[str, str]])["objects"]["default/configmap/cm1"] == "8071"
    status = message.decode(sample("nodestatus"))
    assert resource.parse(status.resource) == ("null", resource.NODE_STATUS, "edge1")
    assert status.read(dict[str, Any])["memory_bytes"] == 949_104_640


def test_a_board_reads_what_is_offered_and_the_gateway_what_is_asked_for() -> None:
    offered = ota.parse_offer(sample("ota-offer"))
    assert offered is not None
    assert vars(offered) == vars(golden.OFFER)
    assert ota.parse_offer(sample("ota-offer-none")) is None
    assert ota.parse_get(sample("ota-get")) == (golden.IMAGE_ID, 4096, 1024)
    assert bytes.fromhex((SAMPLES / "ota-chunk.txt").read_text()) == golden.CHUNK
    assert ota.parse_chunk(golden.CHUNK) == (ota.short(golden.IMAGE_ID), 4096, b"print()\n")


def test_a_board_reads_the_manifest_whose_sha256_is_the_id() -> None:
    assert hashlib.sha256(sample("ota-manifest")).hexdigest() == golden.IMAGE_ID
    assert vars(ota.parse_manifest(sample("ota-manifest"))) == vars(golden.IMAGE)


# KubeEdge's link, recorded

FRAMES: list[str] = [json.loads(line)["frame"] for line in (SAMPLES / "kubeedge-link.jsonl").read_text().splitlines()]


def recorded(operation: str, about: str, parent: str = "") -> Message:
    return next(
        m
        for m in map(message.decode, FRAMES)
        if m.operation == operation and m.resource.endswith(about) and m.parent_id == parent
    )


def same_but_for_id_and_time(ours: Message, theirs: Message) -> bool:
    """Byte for byte, when id and time are set to theirs."""
    ours = msgspec.structs.replace(ours, id=theirs.id, timestamp=theirs.timestamp)
    return message.encode(ours) == message.encode(theirs)


@pytest.mark.parametrize("frame", [pytest.param(frame, id=str(number)) for number, frame in enumerate(FRAMES)])
def test_a_recorded_frame_is_read_and_written_again_byte_for_byte(frame: str) -> None:
    assert message.encode(message.decode(frame)) == frame.encode() + b"\n"
    assert message.encode(message.decode(frame.encode() + b"\n")) == frame.encode() + b"\n"


@pytest.mark.parametrize(
    ("operation", "about", "answered_on"),
    [
        ("update", "default/device/dev1", "default/device/dev1"),
        ("insert", "default/pod/web2", "default/pod/web2"),
        ("update", "default/pod/web2", "default/pod/web2"),
        ("update", "device/default/dev1/twin/edge_updated", "twin"),
        ("update", "device/default/dev1/state/update", "twin"),
    ],
)
def test_an_acknowledgement_is_as_the_recorded_one(operation: str, about: str, answered_on: str) -> None:
    acknowledged = recorded(operation, about)
    theirs = recorded("response", answered_on, acknowledged.id)
    assert same_but_for_id_and_time(message.acknowledgement(acknowledged), theirs)


def test_a_keepalive_is_as_the_recorded_one() -> None:
    assert same_but_for_id_and_time(keepalive(), recorded("keepalive", "node"))


def test_a_changed_twin_is_told_as_the_recorded_one() -> None:
    theirs = recorded("update", "twin/edge_updated")
    read = theirs.read(UpdatedContent)
    assert [*read.twin] == ["temperature"]
    ours = message.build(
        message.UPDATE,
        resource.device_report("default/dev1", resource.TWIN_UPDATED),
        twin.updated_content(read.event_id, read.timestamp, read.twin),
        source="twin",
    )
    assert same_but_for_id_and_time(ours, theirs)


def test_a_state_is_told_as_the_recorded_one() -> None:
    theirs = recorded("update", "state/update")
    read = theirs.read(StateContent)
    assert read.device == twin.DeviceState("dev1", "online", "2026-11-23T05:27:20Z")
    ours = message.build(
        message.UPDATE,
        resource.device_report("default/dev1", resource.STATE_UPDATED),
        twin.state_content(read.event_id, read.timestamp, read.device),
        source="twin",
    )
    assert same_but_for_id_and_time(ours, theirs)


def test_membership_is_told_as_the_recorded_one() -> None:
    theirs = recorded("update", resource.MEMBERSHIP)
    read = theirs.read(Membership)
    assert (read.added_devices, read.removed_devices) == (None, [Member("default/dev47", "dev47")])
    content = msgspec.Raw(twin.encode_membership(read))
    ours = message.build(
        message.UPDATE, resource.MEMBERSHIP, content, source="devicecontroller", group=message.GROUP_TWIN
    )
    assert same_but_for_id_and_time(ours, theirs)


def test_a_recorded_device_is_read() -> None:
    got = device.parse_device(recorded("update", "default/device/dev1").content)
    assert (got.id, got.model_id, got.spec.node_name) == ("default/dev1", "default/bench-model", "edge1")
    assert got.spec.properties[0].desired == device.Desired("11")
    assert got.spec.properties[0].collect_cycle == 10_000


# KubeEdge's MQTT, recorded

LINES = [tuple(line.split(" ", 1)) for line in (SAMPLES / "kubeedge-mqtt.txt").read_text().splitlines()]


def payloads(kind: str) -> list[bytes]:
    """What was recorded on one kind of a device's topics."""
    return [payload.encode() for topic, payload in LINES if topics.of_device("default/dev1", kind) == topic]


def test_every_recorded_topic_is_known() -> None:
    kinds = [(topics.device_topic(topic) or ("", topic))[1] for topic, _ in LINES if "device//" not in topic]
    known = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
    known |= {topics.membership_get("edge1"), topics.membership_result("edge1")}
    assert len(kinds) == 24
    assert set(kinds) <= known


def test_recorded_reports_are_read() -> None:
    read, refused = {}, []
    for payload in payloads(topics.UPDATE):
        try:
            report, errors = twin.parse_report(payload)
        except TwinError as error:
            refused.append((payload, error.code))
            continue
        assert errors == []
        read[report.event_id] = report.twin
    assert refused == [(b"not json", twin.BAD_REQUEST)]
    assert [*read] == ["e1", "e2", "e4", "e5", "e7"]
    assert read["e5"] == {"power": None}
    assert read["e2"]["power"] == Twin(twin.Value("ON"), twin.Value("OFF"), True, twin.TypeOf("string"))


class Refused(msgspec.Struct):
    event_id: str
    timestamp: int
    code: int
    reason: str


class Told(msgspec.Struct):
    event_id: str
    timestamp: int
    twin: dict[str, Change] = {}
    devices: list[Member] = []


@pytest.mark.parametrize("payload", payloads(topics.RESULT) + payloads(topics.GET_RESULT))
def test_a_recorded_result_is_what_our_encoder_gives(payload: bytes) -> None:
    if b'"code"' in payload:
        refused = msgspec.json.decode(payload, type=Refused)
        error = TwinError(refused.code, refused.reason)
        assert twin.result(refused.event_id, refused.timestamp, {}, error) == payload
    else:
        read = msgspec.json.decode(payload, type=UpdatedContent)
        assert twin.result(read.event_id, read.timestamp, read.twin) == payload


@pytest.mark.parametrize("payload", payloads(topics.DELTA))
def test_a_recorded_delta_is_what_our_encoder_gives(payload: bytes) -> None:
    read = msgspec.json.decode(payload, type=UpdatedContent)
    assert twin.delta(read.event_id, read.timestamp, read.twin, board.delta(payload)) == payload


@pytest.mark.parametrize("payload", payloads(topics.DOCUMENT))
def test_a_recorded_document_is_what_our_encoder_gives(payload: bytes) -> None:
    read = msgspec.json.decode(payload, type=Told)
    assert read.twin
    assert twin.document(read.event_id, read.timestamp, read.twin) == payload


@pytest.mark.parametrize("payload", payloads(topics.STATE_RESULT))
def test_a_recorded_state_is_what_our_encoder_gives(payload: bytes) -> None:
    read = msgspec.json.decode(payload, type=StateContent)
    assert twin.state_result(read.event_id, read.timestamp, read.device) == payload


def test_recorded_members_are_what_our_encoder_gives() -> None:
    (payload,) = [p.encode() for topic, p in LINES if topic == topics.membership_result("edge1")]
    read = msgspec.json.decode(payload, type=Told)
    assert len(read.devices) == 3
    assert twin.members(read.event_id, read.timestamp, read.devices) == payload


def test_recorded_requests_and_states_are_read() -> None:
    assert [twin.parse_request(payload) for payload in payloads(topics.GET)] == ["e3"]
    assert [twin.parse_state(payload).state for payload in payloads(topics.STATE)] == ["offline"]
