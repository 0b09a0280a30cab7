"""EdgeCore between broker, cloud, store and mappers."""

import json
from collections.abc import Iterable

import msgspec
import pytest
from msgspec import Raw

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.meta_manager import MetaError
from edge_gateway.store.memory import MemoryStore
from edge_gateway.tests.site import (
    ID,
    NOW,
    POWER,
    SPEED,
    STATE_KEY,
    TEMPERATURE,
    TWIN_KEY,
    Heard,
    a_device,
    a_model,
    topic,
    updated,
)
from edgewire import board, message, ota, resource, rollout, topics
from edgewire.device import Device, DeviceModel, MapperDevice, ModelProperty, parse_mapper_device
from edgewire.message import Message, MessageError
from edgewire.resource import Resource, ResourceError
from edgewire.rollout import Metadata, Plan, Report, Wave
from edgewire.tests import golden
from edgewire.tests.firmware_image import firmware
from edgewire.tests.golden import sample
from edgewire.twin import StateContent

MACHINE = json.loads(sample("nodestatus"))["content"]


class Node:
    """A gateway whose effects are carried out: rows go to a store, retained messages to a dictionary."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = NOW
        self.retained: dict[str, bytes] = {}
        self.unheard: set[str] = set()
        """Topics nobody listens to."""
        self.start()

    def start(self) -> Effects:
        self.core = EdgeCore("edge1", wanted=lambda topic: topic not in self.unheard, machine=MACHINE)
        return self.perform(self.core.restore(self.store, self.now)).effects

    def perform(self, effects: Effects) -> Heard:
        self.store.write(effects.changes)
        for publish in effects.publishes:
            if publish.retain:
                self.retained[publish.topic] = publish.payload
                if not publish.payload:
                    del self.retained[publish.topic]
        return Heard(effects)

    def cloud(self, operation: str, thing: Device | DeviceModel, *, quoted: bool = False) -> Heard:
        """The cloud sends an object."""
        self.now += 1
        type = resource.DEVICE if isinstance(thing, Device) else resource.DEVICE_MODEL
        name = Resource(thing.metadata.namespace, type, thing.metadata.name)
        content: object = msgspec.json.encode(thing).decode() if quoted else thing
        sent = message.build(operation, str(name), content, source="devicecontroller", resource_version="1")
        return self.perform(self.core.from_cloud(message.decode(message.encode(sent)), self.now))

    def put(self, *things: Device | DeviceModel) -> Heard:
        """The last of these objects' effects."""
        for thing in things:
            heard = self.cloud(message.UPDATE, thing)
        return heard

    def client(self, kind: str, payload: str | bytes | None, *, size: int = 0, id: str = ID) -> Heard:
        """A client publishes on a device's topic."""
        self.now += 1
        raw = payload.encode() if isinstance(payload, str) else payload
        return self.perform(self.core.from_broker(topic(kind, id), raw, size or len(raw or b""), self.now))

    def report(self, **values: str) -> Heard:
        return self.client(topics.UPDATE, board.report({n: (v, self.now + 1) for n, v in values.items()}, "e1"))

    def values(self) -> dict[str, tuple[str | None, str | None]]:
        twins = self.client(topics.GET, board.get()).on(topics.GET_RESULT)["twin"]
        return {
            name: (t.get(board.REPORTED, {}).get("value"), t.get(board.DESIRED, {}).get("value"))
            for name, t in twins.items()
        }

    def sent(self, key: str) -> Message | None:
        """A link message, delivered."""
        found = self.core.message_for(key, self.now)
        self.perform(self.core.delivered(key))
        return found

    def definitions(self, retained: Iterable[str] = ()) -> dict[str, bytes]:
        """What is published to mappers on connecting to a broker."""
        found = list(self.core.definitions(retained))
        assert all((p.qos, p.retain) == (1, True) for p in found)
        assert len({p.topic for p in found}) == len(found)
        return {p.topic: p.payload for p in found}


@pytest.fixture
def node() -> Node:
    return Node()


# Restarts


def test_a_restart_from_the_store_gives_the_same_state(node: Node) -> None:
    node.put(a_model(), a_device({"speed": "5"}), a_device(name="s2"))
    node.client(topics.STATE, board.state("online"))
    node.report(temperature="21", speed="1")
    node.sent(TWIN_KEY)
    node.report(temperature="22")
    values, keys = node.values(), node.core.dirty_keys()
    inventory = node.sent(resource.INVENTORY)
    defined, rows = node.definitions(), {t: list(node.store.read(t)) for t in ("object", "twin", "device")}
    for _ in range(2):
        effects = node.start()
        assert (effects.changes, effects.publishes) == ([], [])
        assert node.values() == values
        assert node.core.dirty_keys() == keys == ["inventory", "nodestatus", TWIN_KEY, STATE_KEY]
        again = node.sent(resource.INVENTORY)
        assert inventory is not None
        assert again is not None
        assert again.read(dict[str, dict[str, str]]) == inventory.read(dict[str, dict[str, str]])
        assert node.definitions() == defined
        assert {t: list(node.store.read(t)) for t in rows} == rows
    assert updated(node.sent(TWIN_KEY)) == {"temperature": ("22", None)}


def test_a_restart_from_a_damaged_row_costs_that_row_only(node: Node) -> None:
    node.put(a_model(), a_device(), a_device(name="s2"))
    node.report(temperature="21")
    node.store.write([("object", "default/device/s2", b"torn")])
    node.start()
    assert node.values()["temperature"] == ("21", None)
    inventory = node.sent(resource.INVENTORY)
    assert inventory is not None
    assert [*inventory.read(dict[str, dict[str, str]])["objects"]] == ["default/device/s1", "default/devicemodel/meter"]
    node.put(a_device(name="s2"))
    assert node.client(topics.GET, "{}", id="default/s2").effects.refusals == []


def test_what_was_desired_while_everything_was_away_reaches_the_device_once_the_newest_only(node: Node) -> None:
    node.put(a_model(), a_device({"speed": "1"}))
    node.report(speed="1")
    node.client(topics.STATE, board.state("offline"))
    node.start()
    for speed in ("2", "3", "4"):
        node.put(a_device({"speed": speed}, generation=int(speed)))
    node.start()
    heard = node.client(topics.STATE, board.state("online"))
    assert heard.kinds.count(topics.DELTA) == 1
    assert heard.delta == {"speed": "4"}
    assert node.report(speed="4").delta is None
    assert node.client(topics.STATE, board.state("online")).delta is None


# From the cloud


def test_a_new_device_is_announced_and_a_removed_one_too(node: Node) -> None:
    node.put(a_model())
    added = node.cloud(message.INSERT, a_device())
    announced = added.on(topics.membership_updated("edge1"))
    assert (announced["added_devices"], announced["removed_devices"]) == ([{"id": ID, "name": "s1"}], None)
    assert [*announced] == [*json.loads(sample("membership"))]
    assert topics.membership_updated("edge1") not in node.put(a_device(generation=2)).kinds
    removed = node.cloud(message.DELETE, a_device()).on(topics.membership_updated("edge1"))
    assert (removed["added_devices"], removed["removed_devices"]) == (None, [{"id": ID, "name": "s1"}])
    assert topics.membership_updated("edge1") not in node.cloud(message.DELETE, a_device()).kinds


def test_the_object_is_written_before_anything_that_follows_from_it(node: Node) -> None:
    node.put(a_model())
    heard = node.put(a_device({"speed": "5"}))
    assert heard.keys[0] == "object default/device/s1"
    assert heard.keys[1:] == ["device default/s1", "twin default/s1/speed"]
    assert [p.topic for p in heard.effects.publishes] == [
        topic(topics.DELTA),
        topics.mapper_device("modbus", ID),
        topics.mapper_index("modbus"),
        topics.membership_updated("edge1"),
    ]


def test_an_object_may_come_as_a_text_in_a_string(node: Node) -> None:
    node.put(a_model())
    node.cloud(message.INSERT, a_device({"speed": "5"}), quoted=True)
    assert node.values()["speed"] == (None, "5")
    node.start()
    assert node.values()["speed"] == (None, "5")


def test_deleting_a_device_leaves_nothing_of_it(node: Node) -> None:
    node.put(a_model(), a_device({"speed": "5"}))
    node.report(temperature="21")
    heard = node.cloud(message.DELETE, a_device())
    assert [list(node.store.read(t)) for t in ("twin", "device")] == [[], []]
    assert [key for key, _ in node.store.read("object")] == ["default/devicemodel/meter"]
    assert node.retained == {}
    assert heard.kinds[:2] == [topics.mapper_device("modbus", ID), topics.mapper_index("modbus")]
    assert node.core.dirty_keys() == ["inventory", "nodestatus"]
    assert node.report(temperature="22").on(topics.RESULT)["code"] == 404


def test_other_objects_are_kept_for_those_who_come_to_need_them(node: Node) -> None:
    pod = message.build(
        message.INSERT,
        "default/pod/web",
        {"metadata": {"name": "web", "uid": "p", "generation": 1}, "spec": {}},
        source="edgecontroller",
    )
    heard = node.perform(node.core.from_cloud(pod, NOW))
    assert (heard.keys, heard.effects.publishes) == (["object default/pod/web"], [])
    assert list(node.store.read("object")) == [("default/pod/web", bytes(pod.content))]


@pytest.mark.parametrize(
    ("operation", "name", "content", "error", "reason"),
    [
        ("update", "membership", {}, ResourceError, "'membership' is not <namespace>/<type>/<name>"),
        ("patch", "default/device/s1", {}, MetaError, "operation 'patch' on default/device/s1 is none of"),
        ("update", "default/device/s1", {}, MetaError, "missing required field `metadata`"),
        ("update", "default/device/s1", "no json", MessageError, "content of update default/device/s1"),
    ],
)
def test_what_cannot_be_taken_from_the_cloud_is_an_error_and_changes_nothing(
    node: Node, operation: str, name: str, content: object, error: type[Exception], reason: str
) -> None:
    node.put(a_model(), a_device())
    rows = list(node.store.read("object"))
    with pytest.raises(error) as caught:
        node.core.from_cloud(message.build(operation, name, content, source="x"), NOW)
    assert reason in str(caught.value)
    assert list(node.store.read("object")) == rows
    assert node.report(temperature="21").effects.refusals == []


# Models


def test_a_device_works_as_soon_as_its_model_is_there(node: Node) -> None:
    heard = node.put(a_device({"speed": "5"}))
    assert heard.kinds == [topics.membership_updated("edge1")]
    assert node.report(speed="1").on(topics.RESULT)["reason"] == f"device {ID} waits for its model default/meter"
    assert node.client(topics.STATE, board.state("online")).on(topics.STATE_RESULT)["code"] == 404
    heard = node.put(a_model())
    assert heard.kinds == [topics.DELTA, topics.mapper_device("modbus", ID), topics.mapper_index("modbus")]
    assert heard.delta == {"speed": "5"}
    assert node.report(speed="1").effects.refusals == []


def test_a_missing_model_holds_up_no_other_device(node: Node) -> None:
    node.put(a_model(), a_device(), a_device(name="s2", model="absent"))
    assert node.report(speed="1").effects.refusals == []


def test_a_removed_model_stops_its_devices_and_brings_them_back_with_their_values(node: Node) -> None:
    node.put(a_model(), a_device({"speed": "5"}))
    node.report(temperature="21")
    heard = node.cloud(message.DELETE, a_model())
    assert node.retained == {}
    assert heard.kinds == [topics.mapper_device("modbus", ID), topics.mapper_index("modbus")]
    assert node.report(temperature="22").on(topics.RESULT)["code"] == 404
    node.start()
    assert node.report(temperature="22").on(topics.RESULT)["code"] == 404
    node.put(a_model())
    assert node.values() == {"temperature": ("21", None), "speed": (None, "5"), "power": (None, None)}
    assert [*node.retained] == [topics.mapper_device("modbus", ID), topics.mapper_index("modbus")]


def test_a_device_that_changes_to_a_model_not_there_yet_waits_for_it(node: Node) -> None:
    node.put(a_model(), a_device())
    node.report(temperature="21", speed="1")
    node.put(a_device(model="better", generation=2))
    assert node.retained == {}
    assert node.report(temperature="22").on(topics.RESULT)["reason"].endswith("waits for its model default/better")
    node.put(a_model(TEMPERATURE, POWER, name="better"))
    assert node.values() == {"temperature": ("21", None), "power": (None, None)}


def test_an_edit_of_a_model_removes_a_property_from_all_its_devices(node: Node) -> None:
    node.put(a_model(), a_device(), a_device(name="s2"))
    node.report(temperature="21", speed="1")
    heard = node.put(a_model(TEMPERATURE, POWER))
    assert [*node.values()] == ["temperature", "power"]
    assert ("twin", f"{ID}/speed", None) in heard.effects.changes
    assert [key for key, _ in node.store.read("twin")] == [f"{ID}/temperature"]
    for id in (ID, "default/s2"):
        definition = parse_mapper_device(node.retained[topics.mapper_device("modbus", id)])
        assert definition.model.property("speed") is None
    assert node.report(speed="2").on(topics.RESULT)["code"] == 404


# From the broker


def test_a_report_is_answered_with_what_is_durable_by_then(node: Node) -> None:
    node.put(a_model(), a_device({"power": "ON"}))
    node.client(topics.STATE, board.state("online"))
    heard = node.report(power="OFF", temperature="21")
    assert heard.kinds == [topics.RESULT, topics.DOCUMENT, topics.DELTA]
    assert heard.dirty == [TWIN_KEY]
    assert [key for key, _ in node.store.read("twin")] == [f"{ID}/power", f"{ID}/temperature"]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (topics.UPDATE, topics.RESULT),
        (topics.STATE, topics.STATE_RESULT),
        (topics.GET, topics.GET_RESULT),
    ],
)
def test_a_payload_that_is_too_large_or_malformed_is_refused_on_the_senders_topic(
    node: Node, kind: str, answer: str
) -> None:
    node.put(a_model(), a_device())
    large = node.client(kind, None, size=10_485_760)
    assert large.kinds == [answer]
    assert large.on(answer)["code"] == 413
    assert large.on(answer)["reason"] == "payload of 10485760 bytes is too large"
    broken = node.client(kind, '{"event_id":"e7","twin":')
    assert (broken.on(answer)["code"], broken.on(answer)["event_id"]) == (400, "e7")
    for heard in (large, broken):
        assert (heard.effects.changes, heard.dirty, len(heard.effects.refusals)) == ([], [], 1)


def test_members_are_answered_to_those_who_ask_this_node(node: Node) -> None:
    node.put(a_model(), a_device(), a_device(name="s2"))
    node.client(topics.STATE, board.state("online"))
    asked = topics.membership_get("edge1")
    answer = Heard(node.core.from_broker(asked, sample("get"), 0, NOW)).on(topics.membership_result("edge1"))
    assert [*answer] == [*json.loads(sample("members"))]
    assert answer["event_id"] == "e3"
    assert [(d["id"], d.get("state")) for d in answer["devices"]] == [(ID, "online"), ("default/s2", None)]
    large = Heard(node.core.from_broker(asked, None, 10_485_760, NOW)).on(topics.membership_result("edge1"))
    assert large["code"] == 413
    broken = Heard(node.core.from_broker(asked, b"x", 1, NOW))
    assert broken.on(topics.membership_result("edge1"))["code"] == 400
    assert len(broken.effects.refusals) == 1
    assert node.core.from_broker(topics.membership_get("edge2"), b"{}", 2, NOW).publishes == []


@pytest.mark.parametrize("address", [topic(topics.RESULT), topic("nonsense"), "anything/else", ""])
def test_other_topics_are_nobodys_business(node: Node, address: str) -> None:
    effects = node.core.from_broker(address, b"{}", 2, NOW)
    assert (effects.changes, effects.publishes, effects.refusals) == ([], [], [])
    assert node.core.from_broker(address, None, 10_000_000, NOW).publishes == []


# To mappers


def test_a_mapper_learns_both_resources_of_each_device_and_which_devices_there_are(node: Node) -> None:
    node.put(a_model(), a_device(name="s2"), a_device({"speed": "5"}))
    told = node.definitions()
    assert [*told] == [
        topics.mapper_device("modbus", "default/s2"),
        topics.mapper_device("modbus", ID),
        topics.mapper_index("modbus"),
    ]
    assert json.loads(told[topics.mapper_index("modbus")]) == {"devices": [ID, "default/s2"]}
    definition = parse_mapper_device(told[topics.mapper_device("modbus", ID)])
    assert definition == MapperDevice(a_device({"speed": "5"}), a_model())
    assert told == node.retained


def test_the_golden_definition_is_published(node: Node) -> None:
    node.put(golden.DEFINITION.model, golden.DEFINITION.device)
    assert node.retained[topics.mapper_device("modbus", ID)] == sample("mapper-device")


def test_what_the_broker_retains_of_the_past_is_cleared_every_time(node: Node) -> None:
    node.put(a_model(), a_device())
    stale = [topics.mapper_device("modbus", "default/gone"), topics.mapper_index("ble")]
    current = [topics.mapper_device("modbus", ID), topics.mapper_index("modbus")]
    for _ in range(3):  # each connection to an external broker
        told = node.definitions(stale + current)
        assert [topic for topic, payload in told.items() if not payload] == stale
        assert [topic for topic, payload in told.items() if payload] == current


def test_after_a_restart_without_devices_everything_retained_is_cleared(node: Node) -> None:
    assert node.definitions([topics.mapper_index("modbus")]) == {topics.mapper_index("modbus"): b""}


def test_a_device_that_changes_its_protocol_moves_to_the_other_mapper(node: Node) -> None:
    node.put(a_model(), a_device(), a_device(name="s2"))
    node.put(a_device(protocol="ble", generation=2))
    assert set(node.retained) == {
        topics.mapper_device("modbus", "default/s2"),
        topics.mapper_index("modbus"),
        topics.mapper_device("ble", ID),
        topics.mapper_index("ble"),
    }
    assert json.loads(node.retained[topics.mapper_index("modbus")]) == {"devices": ["default/s2"]}
    assert json.loads(node.retained[topics.mapper_index("ble")]) == {"devices": [ID]}
    node.put(a_device(protocol="", generation=3))
    assert set(node.retained) == {topics.mapper_device("modbus", "default/s2"), topics.mapper_index("modbus")}
    node.cloud(message.DELETE, a_device(name="s2"))
    assert node.retained == {}


def test_an_edit_that_keeps_the_protocol_leaves_the_index_alone(node: Node) -> None:
    node.put(a_model(), a_device())
    heard = node.put(a_device({"speed": "5"}, generation=2))
    assert topics.mapper_index("modbus") not in heard.kinds
    definition = parse_mapper_device(node.retained[topics.mapper_device("modbus", ID)])
    assert definition.device.metadata.generation == 2


# To the cloud


def test_a_connection_begins_with_inventory_and_machine(node: Node) -> None:
    node.put(a_model(), a_device(generation=3))
    assert node.core.dirty_keys() == ["inventory", "nodestatus"]
    inventory, status = (node.sent(key) for key in node.core.dirty_keys())
    assert inventory is not None
    assert status is not None
    golden_inventory, golden_status = message.decode(sample("inventory")), message.decode(sample("nodestatus"))
    for ours, expected in ((inventory, golden_inventory), (status, golden_status)):
        fields = ("source", "group", "operation", "resource", "resource_version", "parent_id", "sync")
        assert [getattr(ours, f) for f in fields] == [getattr(expected, f) for f in fields]
    assert inventory.read(dict[str, dict[str, str]]) == {
        "objects": {"default/device/s1": "u1.3", "default/devicemodel/meter": ""}
    }
    assert bytes(status.content) == bytes(golden_status.content)
    assert node.core.dirty_keys() == ["inventory", "nodestatus"]  # every connection begins so


def test_delivering_clears_what_was_in_the_message_only(node: Node) -> None:
    node.put(a_model(TEMPERATURE, SPEED, POWER), a_device())
    node.report(temperature="21")
    assert node.core.message_for(TWIN_KEY, NOW) is not None
    node.report(speed="1")
    assert node.perform(node.core.delivered(TWIN_KEY)).dirty == [TWIN_KEY]
    assert node.core.dirty_keys() == ["inventory", "nodestatus", TWIN_KEY, STATE_KEY]
    assert updated(node.sent(TWIN_KEY)) == {"speed": ("1", None)}
    assert node.sent(TWIN_KEY) is None
    assert node.sent(STATE_KEY) is not None
    node.start()
    assert node.core.dirty_keys() == ["inventory", "nodestatus"]


# Devices nobody serves


def told_states(node: Node, at_s: int) -> list[tuple[str, str, str]]:
    """State, reason and message of the device, if the cloud is to be told a new one so many seconds later."""
    effects = node.core.without_mapper(NOW + at_s * 1000)
    if effects is None:
        return []
    assert node.perform(effects).dirty == [STATE_KEY]
    said = node.core.message_for(STATE_KEY, node.now)
    assert said is not None
    device = said.read(StateContent).device
    return [(device.state, device.reason, device.message)]


def test_a_device_whose_protocol_nobody_serves_says_so_with_the_nearest_that_is(node: Node) -> None:
    node.unheard = {topics.mapper_index(protocol) for protocol in ("modbsu", "serial", "ble", "bluetooth")}
    node.cloud("insert", a_model())
    node.cloud("insert", a_device(protocol="modbsu"))
    assert [told_states(node, at) for at in (0, 19)] == [[], []]
    assert told_states(node, 20) == [
        (
            "unknown",
            "NoMapper",
            "no mapper of Device spec.protocol.protocolName 'modbsu' is here, and the device does not speak itself; "
            "did you mean 'modbus'?",
        )
    ]
    assert told_states(node, 25) == []


def test_a_device_that_speaks_for_itself_needs_no_mapper(node: Node) -> None:
    node.unheard = {topics.mapper_index("mqtt")}
    node.cloud("insert", a_model())
    node.cloud("insert", a_device(protocol="mqtt"))
    node.report(temperature="21")
    assert [told_states(node, at) for at in (0, 20, 60)] == [[], [], []]


def test_a_mapper_that_is_not_there_any_more_leaves_its_devices_unknown_until_one_says_otherwise(node: Node) -> None:
    node.cloud("insert", a_model())
    node.cloud("insert", a_device())
    node.report(temperature="21")
    assert told_states(node, 0) == []
    node.unheard = {topics.mapper_index("modbus")}
    assert [told_states(node, at) for at in (5, 24)] == [[], []]
    ((state, reason, message),) = told_states(node, 25)
    assert (state, reason, "did you mean" in message) == ("unknown", "NoMapper", False)
    node.report(temperature="22")
    assert told_states(node, 60) == [], "it is told once, and what the device says counts from then on"


def test_a_mapper_that_is_restarted_is_not_missed(node: Node) -> None:
    node.cloud("insert", a_model())
    node.cloud("insert", a_device())
    told_states(node, 0)
    node.unheard = {topics.mapper_index("modbus")}
    told_states(node, 5)
    node.unheard = set()
    told_states(node, 20)
    node.unheard = {topics.mapper_index("modbus")}
    assert [told_states(node, at) for at in (25, 44)] == [[], []]


FIRMWARE = firmware()
A_BOARD = a_device(name="board", model="unix", protocol="mqtt")


def _with_a_rollout(node: Node) -> Heard:
    properties = [ModelProperty(name, type="STRING", access_mode="ReadOnly") for name in ota.PROPERTIES]
    node.put(a_model(*properties, name="unix"), A_BOARD)
    node.client(topics.STATE, board.state("online", "board"), id=A_BOARD.id)
    plan = Plan(Metadata("default", "new", "u7"), "edge1", "", FIRMWARE.image, [Wave(["board"])])
    _, content = rollout.encode_plan(plan)
    objects = {f"default/{resource.ROLLOUT}/new": Raw(content)}
    objects |= {
        f"default/{resource.FIRMWARE_PART}/{n}": Raw(msgspec.json.encode(o)) for n, o in FIRMWARE.objects().items()
    }
    for name, raw in objects.items():
        sent = message.build(message.INSERT, name, raw, source="devicecontroller", resource_version="1")
        heard = node.perform(node.core.from_cloud(sent, node.now))
    return heard


def test_a_board_gets_its_new_firmware_and_the_cloud_hears_of_it(node: Node) -> None:
    offer = _with_a_rollout(node).on(topics.OTA_OFFER)
    asked = ota.get(offer["id"], 0, offer["size"])
    [chunk] = node.client(topics.OTA_GET, asked, id=A_BOARD.id).effects.publishes
    assert chunk.topic == topic(topics.OTA_CHUNK, A_BOARD.id)
    assert ota.parse_chunk(chunk.payload)[2] == FIRMWARE.stream[: offer["size"]]
    values = {ota.FIRMWARE_STATE: (ota.CONFIRMED, 0), ota.FIRMWARE_TARGET: (ota.short(offer["id"]), 0)}
    dirty = node.client(topics.UPDATE, board.report(values), id=A_BOARD.id).dirty
    key = f"default/{resource.ROLLOUT}/new"
    assert key in dirty
    sent = node.sent(key)
    assert sent is not None
    assert sent.read(Report).counts == {"updated": 1}


def test_what_was_downloaded_of_a_rollout_is_kept_over_a_restart_and_named_in_the_inventory(node: Node) -> None:
    _with_a_rollout(node)
    inventory = node.core.message_for(resource.INVENTORY, node.now)
    node.start()
    again = node.core.message_for(resource.INVENTORY, node.now)
    assert inventory is not None
    assert again is not None
    assert json.loads(bytes(again.content)) == json.loads(bytes(inventory.content))
    assert (
        f"default/{resource.FIRMWARE_PART}/{rollout.part_name(FIRMWARE.image.name, 0)}"
        in json.loads(bytes(again.content))["objects"]
    )
    assert f"default/{resource.ROLLOUT}/new" in node.core.dirty_keys()
    heard = node.client(topics.STATE, board.state("online", "board"), id=A_BOARD.id)
    assert heard.on(topics.OTA_OFFER)["id"] == FIRMWARE.image.id


def test_a_part_that_cannot_be_used_is_not_in_the_inventory(node: Node) -> None:
    name = f"default/{resource.FIRMWARE_PART}/p"
    content = {"metadata": {"name": "p", "resourceVersion": "4"}, "binaryData": {}}
    sent = message.build(message.INSERT, name, content, source="devicecontroller", resource_version="4")
    with pytest.raises(MetaError, match="part default/p"):
        node.core.from_cloud(sent, node.now)
    inventory = node.core.message_for(resource.INVENTORY, node.now)
    assert inventory is not None
    assert name not in json.loads(bytes(inventory.content))["objects"]
