"""The brokers as paho-mqtt sees them: every QoS, sessions, wills, and other versions of the protocol."""

from collections.abc import Callable

import paho.mqtt.client as mqtt
import pytest

from edge_gateway.broker.tests.brokers import BrokerProcess, BuiltIn, Paho

MakePaho = Callable[..., Paho]
UNSUPPORTED_VERSION = 132  # as paho has it; for MQTT 3 it translates return code 1


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_pass_at_every_qos_complete_and_in_order(paho: MakePaho, name: str, qos: int) -> None:
    subscriber, publisher = paho(name + "s"), paho(name + "p")
    assert subscriber.subscribe(name, qos=qos) == [qos]
    for info in [publisher.client.publish(name, b"%d" % number, qos) for number in range(200)]:
        info.wait_for_publish(10)
    assert subscriber.wait_messages(200) == [(name, b"%d" % number) for number in range(200)]
    assert {message.qos for message in subscriber.messages} == {qos}


@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_collects_messages_while_its_client_is_away(paho: MakePaho, name: str, qos: int) -> None:
    client = paho(name, clean=False)
    client.subscribe(name, qos=qos)
    client.close()
    publisher = paho(name + "p")
    for number in range(50):
        publisher.publish(name, b"%d" % number, qos)
    again = paho(name, clean=False)
    assert again.session_present
    assert again.wait_messages(50) == [(name, b"%d" % number) for number in range(50)]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_reaches_a_late_subscriber(paho: MakePaho, name: str, qos: int) -> None:
    paho(name + "p").publish(name, b"x", qos, retain=True)
    client = paho(name)
    client.subscribe(name, qos=2)
    assert client.wait_messages(1) == [(name, b"x")]
    assert (client.messages[0].qos, client.messages[0].retain) == (qos, True)


def test_a_client_of_mqtt_5_learns_that_it_must_fall_back_and_can(
    broker: BrokerProcess, paho: MakePaho, name: str
) -> None:
    client = paho(name, protocol=mqtt.MQTTv5)
    assert client.codes == [UNSUPPORTED_VERSION if isinstance(broker, BuiltIn) else 0]
    client.close()
    assert paho(name, protocol=mqtt.MQTTv311).codes == [0]


def test_a_client_of_mqtt_3_1_is_told_so_too(broker: BrokerProcess, paho: MakePaho, name: str) -> None:
    assert paho(name, protocol=mqtt.MQTTv31).codes == [UNSUPPORTED_VERSION if isinstance(broker, BuiltIn) else 0]
