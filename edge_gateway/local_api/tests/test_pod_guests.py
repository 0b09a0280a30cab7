"""Pods at the broker, by their tokens: the rights of one, and the real edgecore with users and no cloud."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from edge_gateway.broker.packets import NOT_AUTHORIZED, Connack, Connect, Publish, encode_connect
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.tests.brokers import Raw, until
from edge_gateway.broker.users import Users, full_user
from edge_gateway.edged.access import ANNOTATION
from edge_gateway.edged.pods import Pod
from edge_gateway.local_api.pod_access import MqttPlace
from edge_gateway.local_api.pod_guests import PodGuests
from edge_gateway.local_api.tests.gateway import Edgecore, objects
from edge_gateway.local_api.tests.test_pod_access import Site
from edgewire import topics

USER = "pod:default/app"
S1 = "default/s1"


class Door:
    """Users of a broker, with a gateway's pods among them."""

    def __init__(self) -> None:
        self.site = Site()
        self.guests = PodGuests()
        self.users = Users([full_user("engineer", hash_password("x"))])
        self.users.invite(self.guests)
        self.guests.access = self.site.access

    def token(self, pod: Pod) -> bytes:
        return self.site.access.files(pod)["token"]


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_pod_is_let_in_by_its_token_and_its_name(door: Door) -> None:
    token = door.token(door.site.pod())
    assert door.users.check(USER, token) is not None
    for name, password in ((USER, b"wrong"), ("pod:default/other", token), ("engineer", token), (USER, b"\xff")):
        assert door.users.check(name, password) is None


@pytest.mark.parametrize(("role", "writes"), [("viewer", False), ("operator", True)])
def test_a_pod_hears_and_asks_of_the_devices_of_its_namespace(door: Door, role: str, writes: bool) -> None:
    user = door.users.check(USER, door.token(door.site.pod(role)))
    assert user is not None
    assert user.may_subscribe(topics.of_device(S1, topics.DELTA))
    assert user.may_subscribe("$hw/events/device/default/+/twin/update/document")
    assert user.may_publish(topics.of_device(S1, topics.GET))
    assert user.may_publish(topics.of_device(S1, topics.UPDATE)) is writes
    assert user.may_publish(topics.of_device(S1, topics.METHOD)) is writes
    for other in ("other/s1", "default"):
        assert not user.may_publish(topics.of_device(other, topics.GET))
        assert not user.may_publish(topics.of_device(other, topics.UPDATE))
    assert not user.may_publish(topics.of_device(S1, topics.DELTA))
    for name in ("#", "$hw/#", "$hw/events/device/+/+/twin/update/document", "$hw/events/node/#"):
        assert not user.may_subscribe(name)


def test_a_pod_stays_a_user_for_as_long_as_it_is_there_and_asks(door: Door) -> None:
    user = door.users.check(USER, door.token(door.site.pod()))
    assert user is not None
    assert door.users.again(user, certified=False) is not None
    assert door.users.owner(USER) is not None
    door.site.pod(uid="another of that name")
    assert door.users.again(user, certified=False) is None
    door.site.pod(None)
    assert door.users.find(USER) is None


def test_nobody_is_a_guest_before_there_are_pods(door: Door) -> None:
    token = door.token(door.site.pod())
    door.guests.access = None
    assert door.users.check(USER, token) is None
    assert door.users.find(USER) is None


def test_a_pod_is_told_where_the_broker_is(door: Door) -> None:
    pod = door.site.pod()
    said = door.site.access.environment(pod, "", "/f")
    assert not any(name.startswith("HEDGEROW_BROKER") for name in said)
    for everywhere, address, host in (
        (False, "", "127.0.0.1"), (False, "10.88.0.7", None), (True, "10.88.0.7", "host.containers.internal"),
    ):  # fmt: skip
        site = Site(broker=MqttPlace(1883, everywhere))
        said = site.access.environment(site.pod(), address, "/f")
        assert said.get("HEDGEROW_BROKER_HOST") == host
        if host is not None:
            assert said["HEDGEROW_BROKER_USER"] == USER
            assert said["HEDGEROW_BROKER_PASSWORD_FILE"] == "/f/token"


TELLS = 'cp "$HEDGEROW_BROKER_PASSWORD_FILE" {0}.new && mv {0}.new {0}; exec sleep 600'


@pytest.fixture
def edgecore(tmp_path: Path) -> Iterator[Edgecore]:
    """With users at its broker, and a pod that puts its token where the test finds it."""
    users = {"users": [{"name": "engineer", "password": hash_password("x"), "role": "full"}]}
    (tmp_path / "users.yaml").write_text(yaml.safe_dump(users))
    stored = objects()
    pod = stored["default/pod/web"]
    pod["metadata"]["annotations"] = {ANNOTATION: "operator"}
    pod["spec"]["containers"][0]["command"] = ["sh", "-c", TELLS.format(tmp_path / "token")]
    process = Edgecore(tmp_path, stored=stored, broker={"users_file": str(tmp_path / "users.yaml")})
    try:
        process.start()
        until((tmp_path / "token").exists, "the pod has its token", 40.0)
        yield process
    finally:
        process.stop()


@pytest.mark.timeout(120)
def test_an_application_in_a_pod_sets_a_desired_value_over_mqtt(edgecore: Edgecore, tmp_path: Path) -> None:
    token = (tmp_path / "token").read_bytes()
    delta = topics.of_device(S1, topics.DELTA)
    with Raw(edgecore).connect("app", user="pod:default/web", password=token) as client:
        client.socket.settimeout(40)
        assert client.subscribe(delta) == b"\x01"
        assert client.subscribe("$hw/#") == b"\x80"
        wish = {"event_id": "e", "timestamp": 1, "twin": {"speed": {"expected": {"value": "44"}}}}
        client.publish(topics.of_device(S1, topics.UPDATE), json.dumps(wish).encode(), qos=0)
        while json.loads(client.next(Publish).payload)["delta"] != {"speed": "44"}:
            pass  # what was desired before
    with Raw(edgecore) as client:
        client.send(encode_connect(Connect("thief", user="pod:default/web", password=b"guessed")))
        answer = client.next()
        assert isinstance(answer, Connack)
        assert answer.code == NOT_AUTHORIZED
