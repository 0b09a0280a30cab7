"""Users and access control from mosquitto's own files, unchanged: asked of the built-in broker and of mosquitto alike."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.broker.packets import Connack, Connect, Publish, Will, encode_connect
from edge_gateway.broker.passwords import hash_for_mosquitto
from edge_gateway.broker.tests.brokers import BrokerProcess, BuiltIn, Mosquitto, Raw, until

ACL = """
topic read news/#
topic write inbox/#

user boss
topic readwrite #
topic readwrite $hw/#

user clerk
topic readwrite plant/#
topic deny plant/secret/#
topic read $hw/events/device/+/twin/update
topic read news/for/clerk

pattern readwrite $hw/events/device/%u/#
pattern write clients/%c/state
pattern read clients/%c/orders
"""
PASSWORDS = {name: hash_for_mosquitto(name) for name in ("boss", "clerk", "s1", "s2")}
OTHER = hash_for_mosquitto("other")
numbers = itertools.count(1)


def write(folder: Path, acl: str = ACL, **changed: str | None) -> dict[str, Any]:
    """The files, and the settings that name them. `changed` are other hashes by user; None leaves the user out."""
    users = {name: made for name, made in (PASSWORDS | changed).items() if made is not None}
    for name, text in (("acl", acl), ("passwords", "".join(f"{user}:{made}\n" for user, made in users.items()))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    named = {"acl_file": str(folder / "acl"), "password_file": str(folder / "passwords")}
    return {**named, "allow_anonymous": True}


@pytest.fixture(scope="module", params=[BuiltIn, Mosquitto], ids=lambda kind: kind.name)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp(request.param.name)
    process = request.param(folder, settings=write(folder))
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture(autouse=True)
def as_before(broker: BrokerProcess) -> Iterator[None]:
    """The files are what they were, after a test that changed them."""
    files = {name: (broker.folder / name).read_text() for name in ("acl", "passwords")}
    yield
    if files != {name: (broker.folder / name).read_text() for name in files}:
        write(broker.folder)
        broker.restart()


@pytest.fixture
def raw(broker: BrokerProcess) -> Iterator[Callable[..., Raw]]:
    """Makes clients that are connected as a user; the client id is the user's name and a number."""
    clients: list[Raw] = []

    def make(user: str | None, client_id: str = "", **fields: Any) -> Raw:
        client = Raw(broker)
        clients.append(client)
        password = None if user is None else user.encode()
        return client.connect(client_id or f"{user}-{next(numbers)}", user=user, password=password, **fields)

    yield make
    for client in clients:
        client.drop()


def heard(listener: Raw, boss: Raw, *topics: str) -> list[str]:
    """Which of these topics a listener that has its subscriptions hears, and `news/end`, to which it is subscribed too."""
    for topic in (*topics, "news/end"):
        boss.publish(topic, b"x")
    return [packet.topic for packet in listener.messages_until("news/end")]


def test_each_hears_what_its_rules_let_it_hear(raw: Callable[..., Raw]) -> None:
    boss, clerk = raw("boss"), raw("clerk")
    clerk.subscribe("plant/#", "$hw/#", "clients/#")
    boss.publish("plant/secret/x", b"x")
    boss.publish("$hw/events/device/s1/twin/update", b"x")
    boss.publish("$hw/events/device/s1/twin/get", b"x")
    boss.publish("clients/other/orders", b"x")
    boss.publish("plant/end", b"x")
    assert [packet.topic for packet in clerk.messages_until("plant/end")] == ["$hw/events/device/s1/twin/update"]


def test_patterns_stand_for_user_and_client_id(raw: Callable[..., Raw]) -> None:
    boss, ear, board = raw("boss"), raw("boss"), raw("s1", "board-1")
    ear.subscribe("$hw/#", "clients/#")
    for topic in (
        "$hw/events/device/s2/x",
        "clients/board-2/state",
        "clients/board-1/orders",
        "$hw/events/device/s1/x",
    ):
        board.publish(topic, b"x")
    assert ear.next(Publish).topic == "$hw/events/device/s1/x"
    board.publish("clients/board-1/state", b"x")
    assert ear.next(Publish).topic == "clients/board-1/state"
    board.subscribe("$hw/events/device/+/y", "clients/#")
    for client, device in (("board-1", "s2"), ("board-2", "s1")):
        boss.publish(f"clients/{client}/orders", b"x")
        boss.publish(f"$hw/events/device/{device}/y", b"x")
    assert board.next(Publish).topic == "clients/board-1/orders"
    assert board.next(Publish).topic == "$hw/events/device/s1/y"


def test_a_client_without_a_user_has_the_rules_before_the_first_user(raw: Callable[..., Raw]) -> None:
    boss, ear, stranger = raw("boss"), raw("boss"), raw(None, f"stranger-{next(numbers)}")
    ear.subscribe("#")
    for topic in ("news/x", "plant/x", "inbox/x"):
        stranger.publish(topic, b"x")
    assert ear.next(Publish).topic == "inbox/x"
    stranger.subscribe("news/#", "#")
    assert heard(stranger, boss, "plant/x", "inbox/y", "news/1") == ["news/1"]


def test_a_retained_message_is_withheld_from_whom_may_not_read_it(raw: Callable[..., Raw]) -> None:
    boss, clerk = raw("boss"), raw("clerk")
    for topic in ("plant/secret/kept", "plant/kept"):
        boss.publish(topic, b"x", retain=True)
    clerk.subscribe("plant/#")
    boss.publish("plant/end", b"x")
    assert [packet.topic for packet in clerk.messages_until("plant/end")] == ["plant/kept"]
    for topic in ("plant/secret/kept", "plant/kept"):
        boss.publish(topic, b"", retain=True)


def test_a_will_is_published_only_where_its_client_may(raw: Callable[..., Raw]) -> None:
    boss = raw("boss")
    boss.subscribe("plant/#")
    for topic in ("plant/secret/will", "plant/will"):
        raw("clerk", will=Will(topic, b"x", 1, False)).drop()
    assert boss.next(Publish).topic == "plant/will"


@pytest.mark.parametrize(("user", "password"), [("boss", "wrong"), ("nobody", "boss"), ("boss", "")])
def test_nobody_comes_in_with_a_wrong_password(broker: BrokerProcess, user: str, password: str) -> None:
    with Raw(broker) as client:
        client.send(encode_connect(Connect("c", user=user, password=password.encode())))
        assert client.next() == Connack(False, 5)


def test_new_rules_hold_for_those_who_are_connected(broker: BrokerProcess, raw: Callable[..., Raw]) -> None:
    boss, ear, clerk = raw("boss"), raw("boss"), raw("clerk")
    ear.subscribe("inbox/#")
    clerk.subscribe("plant/#", "news/#")
    write(broker.folder, ACL.replace("plant", "news").replace("user clerk", "user clerk\ntopic write inbox/#"))
    broker.reload()

    def new_rules() -> bool:
        boss.publish("plant/x", b"x")
        boss.publish("news/x", b"x")
        boss.publish("news/for/clerk", b"x")
        return bool(clerk.next(Publish).topic == "news/x")

    until(new_rules, "only news are heard")
    boss.publish("plant/x", b"x")
    boss.publish("news/end", b"x")
    assert "plant/x" not in [packet.topic for packet in clerk.messages_until("news/end")]
    clerk.publish("inbox/x", b"x")
    assert ear.next(Publish).topic == "inbox/x"


def test_who_lost_its_user_or_has_another_password_is_disconnected_and_nobody_else(
    broker: BrokerProcess, raw: Callable[..., Raw]
) -> None:
    boss, ear, gone, changed = raw("boss"), raw("boss"), raw("s1"), raw("s2")
    ear.subscribe("news/#")
    write(broker.folder, s1=None, s2=OTHER)
    broker.reload()
    gone.wait_closed()
    changed.wait_closed()
    assert heard(ear, boss) == []
    with Raw(broker) as client:
        client.send(encode_connect(Connect("c", user="s2", password=b"s2")))
        assert client.next() == Connack(False, 5)
    with Raw(broker) as client:
        client.connect("c", user="s2", password=b"other")
