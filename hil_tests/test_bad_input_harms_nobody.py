"""Promise 7: bad input gets a specific error at its sender, one log line, and harms nobody else.

One site for all: that it is well after each of these is part of what is tested. What exactly is refused is told by the tests of
`edgewire/twin.py`, `edgewire/message.py` and `edgewire/config.py`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from edgewire import board, topics
from edgewire import message as wire
from hedgerow.cluster import Condition
from hedgerow.stack import Ports
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.tap import Tap
from hil_tests.conftest import NODE, LogBook, Site, counter, counter_model, running_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE, TWO = "default/one", "default/two"

_values = count(1)


class Tapped(NamedTuple):
    """A site, and the tap on its link."""

    site: Site
    tap: Tap


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tapped(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tapped]:
    folder, ports = tmp_path_factory.mktemp("site"), Ports.any()
    async with (
        Tap(folder / "cloud" / "pki", NODE, ports.cloud) as tap,
        running_site(folder, ports=ports, cloud_port=tap.port) as site,
    ):
        yield Tapped(site, tap)


async def others_are_well(site: Site) -> None:
    """Another device's report, from another connection, reaches Kubernetes."""
    value = next(_values)

    def other() -> None:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            assert mqtt.publish(topics.of_device(TWO, topics.UPDATE), board.report({"count": (str(value), 0)}))

    await asyncio.to_thread(other)
    await site.until("another device's report", lambda: site.reported("two") == value)


def twin_of(value: object) -> str:
    return json.dumps({"event_id": "e9", "twin": {"count": {"actual": {"value": value}}}})


@pytest.mark.parametrize(
    ("device", "kind", "payload", "code", "reason", "event_id"),
    [
        (ONE, topics.UPDATE, '{"event_id": "e9", "twin": {', 400, "truncated", "e9"),
        (
            ONE,
            topics.UPDATE,
            b'{"event_id": "e9", "twin": {"count": {"actual": {"value": "\xff"}}}}',
            400,
            "utf-8",
            "e9",
        ),
        (ONE, topics.UPDATE, "[]", 400, "Expected `object`", ""),
        (ONE, topics.UPDATE, twin_of(7), 400, "Expected `str`", "e9"),
        (ONE, topics.UPDATE, twin_of("many"), 400, "property 'count'", "e9"),
        (ONE, topics.UPDATE, twin_of("9" * 5000), 413, "value of 5000 bytes is longer than 4096", "e9"),
        (ONE, topics.UPDATE, board.report({"colour": ("red", 0)}, "e9"), 404, "'colour' is not declared by", "e9"),
        ("default/none", topics.UPDATE, twin_of("7"), 404, "default/none is not a device of this node", "e9"),
        (ONE, topics.UPDATE, twin_of("9" * 10_000_000), 413, "bytes is too large", ""),
        (ONE, topics.STATE, board.state("asleep", "e9"), 400, "state 'asleep' is none of", "e9"),
        (ONE, topics.GET, '{"event_id": 9}', 400, "Expected `str`", ""),
    ],
    ids=[
        *("malformed JSON", "no UTF-8", "no object", "wrong JSON type", "wrong type of value", "value over 4 KiB"),
        *("unknown property", "unknown device", "10 MB", "unknown state", "wrong type in a request"),
    ],
)
async def test_a_bad_message_is_answered_logged_once_and_forgotten(
    tapped: Tapped, device: str, kind: str, payload: str | bytes, code: int, reason: str, event_id: str
) -> None:
    site = tapped.site
    edge_log, cloud_log = LogBook(site, "edgecore"), LogBook(site, "cloudcore")
    value = next(_values)

    def sender() -> dict[str, Any]:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.subscribe(topics.of_device(device, f"{kind}/result"))
            assert mqtt.publish(topics.of_device(device, kind), payload)
            answer: dict[str, Any] = json.loads(mqtt.next(topics.of_device(device, f"{kind}/result")))
            assert mqtt.publish(topics.of_device(ONE, topics.UPDATE), board.report({"count": (str(value), 0)}))
            return answer

    answer = await asyncio.to_thread(sender)
    assert answer.keys() == {"event_id", "timestamp", "code", "reason"}
    assert (answer["code"], answer["event_id"]) == (code, event_id)
    assert reason in answer["reason"]
    await others_are_well(site)
    await site.until("the sender's next report", lambda: site.reported("one") == value)
    [line] = edge_log.complaints()
    assert f"device={device!r} event_id={event_id!r} code={code} reason={answer['reason']!r}" in line
    assert cloud_log.complaints() == []
    assert tapped.tap.connections == 1


NO_JSON = b"no json"
NO_ROUTE = b'{"header":{"msg_id":"m7","timestamp":1},"content":"x"}'
NO_OPERATION = b'{"header":{"msg_id":"m7","timestamp":1},"route":{"source":"s","group":"g","resource":"r"}}'


def frame(operation: str, resource: str, content: str) -> bytes:
    header = '{"msg_id":"m7","timestamp":1,"resourceversion":"1"}'
    route = f'{{"source":"test","group":"resource","operation":"{operation}","resource":"{resource}"}}'
    return f'{{"header":{header},"route":{route},"content":{content}}}\n'.encode()


@pytest.mark.parametrize(
    ("bad", "parent", "reason"),
    [
        (NO_JSON, "", "malformed"),
        (NO_ROUTE, "m7", "`route`"),
        (NO_OPERATION, "m7", "`operation`"),
        (frame("insert", "default/device/three", "5"), "m7", "Expected `object`"),
        (frame("insert", "three", "{}"), "m7", "'three' is not <namespace>/<type>/<name>"),
    ],
    ids=["no JSON", "no route", "no operation", "no Device", "no resource"],
)
async def test_a_bad_frame_of_the_cloud_is_refused_and_the_link_stays(
    tapped: Tapped, bad: bytes, parent: str, reason: str
) -> None:
    site, tap = tapped
    log, cloud_log = LogBook(site, "edgecore"), LogBook(site, "cloudcore")
    tap.from_edge.clear()
    await tap.to_edge(bad)
    answer = await tap.heard(tap.from_edge, lambda message: message.operation == wire.ERROR)
    refusal = answer.read(wire.Refusal)
    assert (answer.parent_id, refusal.code) == (parent, 400)
    assert reason in refusal.reason
    await others_are_well(site)
    [line] = log.complaints()
    assert refusal.reason in line
    assert cloud_log.complaints() == []
    assert tap.connections == 1


@pytest.mark.parametrize(
    ("bad", "parent", "code", "reason"),
    [
        (NO_JSON, "", 400, "malformed"),
        (NO_ROUTE, "m7", 400, "`route`"),
        (NO_OPERATION, "m7", 400, "`operation`"),
        (frame("update", "device/default/none/twin/edge_updated", '{"twin":{}}'), "m7", 404, "no Device default/none"),
        (frame("update", "device/default/one/twin/edge_updated", '{"twin":5}'), "m7", 400, "Expected `object`"),
        (frame("dance", "default/device/one", "{}"), "m7", 404, "nothing here takes dance default/device/one"),
    ],
    ids=["no JSON", "no route", "no operation", "unknown Device", "no twin", "unknown operation"],
)
async def test_a_bad_frame_of_a_gateway_is_refused_and_the_link_stays(
    tapped: Tapped, bad: bytes, parent: str, code: int, reason: str
) -> None:
    site, tap = tapped
    log, edge_log = LogBook(site, "cloudcore"), LogBook(site, "edgecore")
    tap.from_cloud.clear()
    await tap.to_cloud(bad)
    answer = await tap.heard(tap.from_cloud, lambda message: message.operation == wire.ERROR)
    refusal = answer.read(wire.Refusal)
    assert (answer.parent_id, refusal.code) == (parent, code)
    assert reason in refusal.reason
    await others_are_well(site)
    [line] = log.complaints()
    assert f"node={NODE}" in line
    assert repr(refusal.reason) in line
    assert edge_log.complaints() == []
    assert tap.connections == 1


async def test_a_device_without_its_model_says_so_and_is_accepted_when_the_model_comes(tapped: Tapped) -> None:
    site = tapped.site
    log = LogBook(site, "cloudcore")
    orphan = counter("orphan")
    orphan["spec"]["deviceModelRef"]["name"] = "clock"
    await site.cluster.apply([orphan])
    await site.until("the device's condition", lambda: site.state_of("orphan") == "False")
    condition = _accepted(site, "orphan")
    assert (condition.reason, condition.message) == ("ModelNotFound", "DeviceModel default/clock does not exist")
    await others_are_well(site)
    [line] = log.complaints()
    assert "id=default/orphan accepted=False reason=ModelNotFound" in line

    await site.cluster.apply([{**counter_model(), "metadata": {"name": "clock"}}])
    await site.until("the device is accepted", lambda: site.state_of("orphan") == "True")

    def orphan_reports() -> None:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.publish(topics.of_device("default/orphan", topics.UPDATE), board.report({"count": ("1", 0)}))

    await asyncio.to_thread(orphan_reports)
    await site.until("its report", lambda: site.reported("orphan") == 1)
    assert log.complaints() == [line]


def _accepted(site: Site, device: str) -> Condition:
    found = site.cluster.devices[f"default/{device}"].condition("Accepted")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("module", "file", "text", "said"),
    [
        (
            "edge_gateway",
            "edgecore.yaml",
            "brokr: {}",
            "edgecore: unknown key `brokr` in edgecore.yaml: did you mean `broker`?",
        ),
        (
            "cloud",
            "cloudcore.yaml",
            "kubeconfg: x",
            "cloudcore: unknown key `kubeconfg` in cloudcore.yaml: did you mean `kubeconfig`?",
        ),
        (
            "mappers",
            "mapper.yaml",
            "broker: {prot: 1883}",
            "mapper: unknown key `broker.prot` in mapper.yaml: did you mean `broker.port`?",
        ),
    ],
    ids=["edgecore", "cloudcore", "mapper"],
)
async def test_an_unknown_key_ends_a_process_with_the_nearest_known_one(
    tmp_path: Path, module: str, file: str, text: str, said: str
) -> None:
    (tmp_path / file).write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(tmp_path / file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output.decode() == said + "\n"
    assert process.returncode == 2
