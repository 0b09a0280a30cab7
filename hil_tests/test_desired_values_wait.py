"""Promise 3: what is set, made or removed while a node is away counts when it is back; of desired values only the newest."""

import asyncio
import json

from cloud.objects import DEVICES
from edgewire import board, topics
from hil_tests.bench.demo import twin_value
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import Site, counter

DELTA = topics.of_device("default/one", topics.DELTA)


async def test_only_the_newest_desired_value_reaches_a_device_whose_node_was_away(site: Site) -> None:
    await site.stack.edgecore.stop()
    await site.until("Kubernetes sees the node gone", lambda: not site.ready())
    for value in ("1", "2", "3"):
        await site.cluster.set_desired("default/one", "count", value)
    await site.stack.edgecore.start()
    await site.until("the node is back", site.ready)
    await site.until("it has the newest", lambda: _observed(site))
    wishes = []

    def device() -> None:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.subscribe(DELTA)
            mqtt.publish(topics.of_device("default/one", topics.STATE), board.state("online"))
            wishes.append(json.loads(mqtt.next(DELTA))["delta"])
            mqtt.publish(topics.of_device("default/one", topics.UPDATE), board.report({"count": ("3", 0)}))
            mqtt.publish(topics.of_device("default/one", topics.STATE), board.state("online"))
            mqtt.subscribe(topics.of_device("default/one", topics.GET_RESULT))
            mqtt.publish(topics.of_device("default/one", topics.GET), board.get())
            mqtt.next(topics.of_device("default/one", topics.GET_RESULT))

    await asyncio.to_thread(device)
    assert wishes == [{"count": "3"}]
    await site.until("Kubernetes has it", lambda: site.reported("one") == 3)


async def test_devices_made_and_deleted_while_the_node_is_away_are_so_when_it_is_back(site: Site) -> None:
    await site.stack.edgecore.stop()
    await site.until("Kubernetes sees the node gone", lambda: not site.ready())
    await site.cluster.apply([counter("three")])
    await site.cluster.delete(DEVICES, "default/two")
    await site.stack.edgecore.start()
    await site.until("the new device is accepted", lambda: site.state_of("three") == "True")

    def device() -> list[str]:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.subscribe(topics.membership_result("edge-1"))
            mqtt.publish(topics.membership_get("edge-1"), board.get())
            members = json.loads(mqtt.next(topics.membership_result("edge-1")))["devices"]
            mqtt.publish(topics.of_device("default/three", topics.UPDATE), board.report({"count": ("7", 0)}))
            return [member["id"] for member in members]

    assert sorted(await asyncio.to_thread(device)) == ["default/one", "default/three"]
    await site.until("the new device's report", lambda: site.reported("three") == 7)
    assert await asyncio.to_thread(twin_value, site.stack.ports.mqtt, "default/three", "count") == "7"


def _observed(site: Site) -> bool:
    view = site.cluster.devices["default/one"]
    return any(t.observed_desired is not None and t.observed_desired.value == "3" for t in view.status.twins)
