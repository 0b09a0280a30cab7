"""A rollout over several gateways: the cores of both ends and the link between them, moved by hand, no process and no clock."""

import json
import random
from collections import deque
from typing import Any

import msgspec
import pytest

from cloud.tests.desk import FIRMWARES, Desk, Edge, device, model
from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.store.memory import MemoryStore
from edgewire import board, ota, topics
from edgewire import link as links
from edgewire.message import Message
from edgewire.tests.firmware_image import firmware

IMAGE = firmware()
PATH = ["downloading", "trial", "confirmed"]


class Gateway(Edge):
    """A gateway's real core at the end of a link, with boards that go through an update one step at a time."""

    def __init__(self, desk: Desk, node: str, outcomes: dict[str, str], log: list[tuple[str, str]]) -> None:
        self.node, self.outcomes, self.log = node, outcomes, log
        self.store = MemoryStore()
        self.todo: dict[str, deque[str]] = {}
        self.start(desk)

    def start(self, desk: Desk) -> None:
        """Begin anew with what the store kept, and connect."""
        Edge.__init__(self, desk, self.node)
        self.desk = desk
        self.core = EdgeCore(self.node, wanted=lambda topic: True, machine={})
        self.perform(self.core.restore(self.store, self.now_ms))
        self.offer(*self.core.dirty_keys())

    @property
    def now_ms(self) -> int:
        return round(self.desk.wall * 1000)

    def offer(self, *keys: str) -> None:
        for key in keys:
            self.link.offer(key, lambda key=key: self.core.message_for(key, self.now_ms))  # type: ignore[misc]

    def perform(self, effects: Effects | None) -> None:
        if effects is None:
            return
        self.store.write(effects.changes)
        for publish in effects.publishes:
            id, kind = topics.device_topic(publish.topic) or ("", "")
            if kind == topics.OTA_OFFER:
                self._offered(id, json.loads(publish.payload))
        self.offer(*effects.dirty)

    def _offered(self, id: str, offer: dict[str, Any]) -> None:
        if not offer:
            self.todo.pop(id, None)
        elif id not in self.todo:
            self.log.append(("offered", id))
            self.todo[id] = deque([*PATH[:2], self.outcomes.get(id, ota.CONFIRMED)])

    def take(self, frame: bytes, now: float) -> None:
        for event in self.link.receive(frame, now):
            match event:
                case links.Received(message):
                    self.messages.append(message)
                    self._from_cloud(message)
                case links.Delivered(key, _) | links.Refused(key, _, _, _):
                    self.perform(self.core.delivered(key))

    def _from_cloud(self, message: Message) -> None:
        if message.resource_version or message.operation == "delete":
            self.perform(self.core.from_cloud(message, self.now_ms))
            self.link.acknowledge(message)

    def says(self, id: str, kind: str, payload: str) -> None:
        content = payload.encode()
        self.perform(self.core.from_broker(topics.of_device(id, kind), content, len(content), self.now_ms))

    def step(self, id: str) -> None:
        """A board does the next of what it has to do."""
        if path := self.todo.get(id):
            state = path.popleft()
            reason = ota.SELF_TEST if state == ota.REVERTED else ota.NONE
            target = ota.short(IMAGE.image.id)
            values = {ota.FIRMWARE_STATE: state, ota.FIRMWARE_TARGET: target, ota.FIRMWARE_REASON: reason}
            self.log.append((state, id))
            self.says(id, topics.UPDATE, board.report({name: (value, 0) for name, value in values.items()}))


class World:
    """A cloud with some gateways of four boards each."""

    def __init__(self, gateways: int = 3, outcomes: dict[str, str] | None = None, **spec: Any) -> None:
        self.desk = Desk()
        self.log: list[tuple[str, str]] = []
        self.random = random.Random(4)
        properties = [{"name": name, "type": "STRING", "accessMode": "ReadOnly"} for name in ota.PROPERTIES]
        self.desk.put({**model("m"), "spec": {"properties": properties}})
        self.boards: dict[str, str] = {}
        for number in range(gateways):
            for letter in "abcd":
                name = f"{letter}{number}"
                self.boards[f"default/{name}"] = f"edge{number}"
                self.desk.put(device(name, node=f"edge{number}", properties=[]))
        for part in IMAGE.objects().values():
            self.desk.put(part)
        self.gateways = {f"edge{n}": Gateway(self.desk, f"edge{n}", outcomes or {}, self.log) for n in range(gateways)}
        self.desk.edges += self.gateways.values()
        self.desk.wait(1)
        for id, node in self.boards.items():
            self.gateways[node].says(id, topics.STATE, board.state("online"))
        self.spec = {"image": msgspec.to_builtins(IMAGE.image), "devices": {"model": "m"}, **spec}
        self.desk.put(
            {"kind": "DeviceFirmware", "metadata": {"name": "new", "namespace": "default"}, "spec": self.spec}
        )
        self.desk.wait(1)

    def run(self, seconds: int) -> None:
        """Let boards and gateways do what they do, in any order."""
        for _ in range(seconds):
            for id in self.random.sample(sorted(self.boards), len(self.boards)):
                self.gateways[self.boards[id]].step(id)
            for gateway in self.gateways.values():
                gateway.perform(gateway.core.tick_firmware(gateway.now_ms))
            self.desk.wait(1)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.desk.stored[f"{FIRMWARES}/new"]["status"]
        return found

    def offered(self) -> list[str]:
        return [id for what, id in self.log if what == "offered"]

    def cut(self, node: str) -> None:
        gateway = self.gateways[node]
        self.desk.edges.remove(gateway)
        self.desk.sessions.close(gateway.session)

    def restore(self, node: str) -> None:
        self.gateways[node].start(self.desk)
        self.desk.edges.append(self.gateways[node])


def test_every_board_of_every_gateway_is_updated() -> None:
    world = World(waves={"canary": {"count": 1}, "percent": [25, 50]}, concurrency=2)
    world.run(60)
    assert (world.status["phase"], world.status["progress"]) == ("Complete", "12/12")
    assert sorted(world.offered()) == sorted(world.boards)


@pytest.mark.parametrize("percent", [[10, 50], [25], []])
def test_no_board_is_offered_anything_before_all_of_the_wave_before_are_done_anywhere(percent: list[int]) -> None:
    world = World(waves={"canary": {"count": 2}, "percent": percent})
    world.run(60)
    ends = [2, *(max(2, -(-12 * share // 100)) for share in [*percent, 100])]
    order = world.offered()
    for end in ends:
        before = world.log if end == len(order) else world.log[: world.log.index(("offered", order[end]))]
        done = {id for what, id in before if what == "confirmed"}
        assert done >= set(order[:end])


def test_a_canary_that_fails_at_one_gateway_protects_the_boards_of_all_others() -> None:
    world = World(outcomes={"default/a1": ota.REVERTED}, waves={"canary": {"names": ["a1"]}})
    world.run(30)
    assert world.offered() == ["default/a1"]
    assert world.status["phase"] == "Aborted"
    assert world.status["failures"] == [{"device": "a1", "node": "edge1", "reason": "self-test"}]


def test_failures_at_several_gateways_add_up() -> None:
    bad = {"default/a0": ota.REVERTED, "default/a1": ota.REVERTED, "default/a2": ota.REVERTED}
    world = World(outcomes=bad, maxFailurePercent=20, concurrency=1)
    world.run(60)
    assert world.status["phase"] == "Aborted"
    assert world.status["counts"]["failed"] >= 3
    assert len(world.offered()) <= 12


def test_gateways_without_a_cloud_finish_the_open_waves_and_open_no_other() -> None:
    names = [f"{letter}{number}" for letter in "ab" for number in range(3)]
    world = World(waves={"canary": {"names": names}, "pauseSeconds": 5})
    for node in world.gateways:
        world.cut(node)
    world.run(60)
    assert sorted(world.offered()) == sorted(f"default/{name}" for name in names)
    assert world.status["progress"] == "0/12"
    for node in world.gateways:
        world.restore(node)
    world.run(60)
    assert (world.status["phase"], world.status["progress"]) == ("Complete", "12/12")


def test_a_gateway_that_holds_the_whole_rollout_needs_no_cloud() -> None:
    world = World(devices={"names": ["a1", "b1", "c1"]}, waves={"canary": {"count": 1}, "pauseSeconds": 5})
    for node in world.gateways:
        world.cut(node)
    world.run(60)
    assert sorted(world.offered()) == ["default/a1", "default/b1", "default/c1"]
    world.restore("edge1")
    world.run(5)
    assert (world.status["phase"], world.status["progress"]) == ("Complete", "3/3")


def test_gateways_and_cloud_that_come_and_go_lose_nothing_and_offer_nothing_twice() -> None:
    world = World(waves={"percent": [10, 30, 60]}, concurrency=1)
    for turn in range(12):
        node = f"edge{turn % 3}"
        world.cut(node)
        world.run(3)
        world.restore(node)
        if turn % 4 == 3:
            fresh = world.desk.restarted()
            fresh.now, fresh.wall = world.desk.now, world.desk.wall
            world.desk = fresh
            for name in world.gateways:
                world.restore(name)
        world.run(3)
    world.run(60)
    assert (world.status["phase"], world.status["progress"]) == ("Complete", "12/12")
    assert sorted(world.offered()) == sorted(world.boards)
