"""Users, their permissions and their file."""

from pathlib import Path

import pytest

from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.users import (
    User,
    Users,
    device_user,
    full_user,
    load_users,
    mapper_user,
)
from edgewire.config import ConfigError

HASH = hash_password("secret")
D = "$hw/events/device/default/s1/"
K = "$ke/events/device/default/s1/"


@pytest.mark.parametrize(
    "topic", [D + "twin/update", D + "twin/get", D + "state/update", D + "ota/get", K + "data/update"]
)
def test_a_device_publishes_its_reports(topic: str) -> None:
    user = device_user("default/s1", HASH)
    assert user.may_publish(topic)
    assert not user.may_publish(topic.replace("s1", "s2"))
    assert not user.may_publish(topic.replace("default", "plant"))
    assert not user.may_publish(topic + "/result")


@pytest.mark.parametrize(
    "topic",
    [
        D + "twin/update/delta",
        D + "ota/offer",
        D + "ota/chunk",
        "$hw/events/node/n/membership/get",
        "t",
        "$hw/events/device",
    ],
)
def test_a_device_publishes_nothing_else(topic: str) -> None:
    assert not device_user("default/s1", HASH).may_publish(topic)


@pytest.mark.parametrize(
    "name", [D + "twin/update/result", D + "twin/update/delta", D + "+/update/#", D + "#", K + "#"]
)
def test_a_device_subscribes_to_all_that_is_said_about_it(name: str) -> None:
    user = device_user("default/s1", HASH)
    assert user.may_subscribe(name)
    assert not user.may_subscribe(name.replace("s1", "+"))


@pytest.mark.parametrize("device", ["s1", "default/s1/x", "default/", "/s1", "+/s1", "default/#", ""])
def test_a_device_id_has_two_plain_levels(device: str) -> None:
    with pytest.raises(ValueError, match="is not <namespace>/<name>"):
        device_user(device, HASH)


def test_a_mapper_uses_every_gateway_topic_and_no_other() -> None:
    user = mapper_user("modbus", HASH)
    assert user.may_publish(D + "twin/update")
    assert user.may_subscribe("$ke/#")
    assert not user.may_publish("t")
    assert not user.may_subscribe("#")


def test_a_full_user_uses_every_topic() -> None:
    user = full_user("boss", HASH)
    assert user.may_publish("t")
    assert user.may_publish("$SYS/x")
    assert user.may_subscribe("#")
    assert user.may_subscribe("$hw/#")


def test_a_proven_password_is_remembered_and_a_wrong_one_is_not() -> None:
    users = Users([full_user("boss", HASH)])
    assert users.remembered("boss", b"secret") is None
    assert users.check("boss", b"wrong") is None
    assert users.remembered("boss", b"wrong") is None
    assert users.check("boss", b"secret") is users.find("boss")
    assert users.remembered("boss", b"secret") is users.find("boss")
    assert users.remembered("boss", b"wrong") is None
    assert users.check("nobody", b"secret") is None


def test_a_name_comes_once() -> None:
    with pytest.raises(ValueError, match="'boss' is there twice"):
        Users([full_user("boss", HASH), User("boss", HASH)])


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "users.yaml"
    path.write_text(text.replace("HASH", HASH))
    return path


def test_a_file_gives_users_of_every_kind(tmp_path: Path) -> None:
    users = load_users(
        written(
            tmp_path,
            """
            users:
              - {name: s1, password: HASH, device: default/s1}
              - {name: modbus, password: HASH, role: mapper}
              - {name: boss, password: HASH, role: full}
              - {name: screen, password: HASH, subscribe: ["a/#"], publish: [b]}
            """,
        )
    )
    assert len(users) == 4
    device, mapper, boss, screen = (users.check(name, b"secret") for name in ("s1", "modbus", "boss", "screen"))
    assert device is not None
    assert device.may_publish(D + "twin/update")
    assert mapper is not None
    assert mapper.may_subscribe("$hw/#")
    assert boss is not None
    assert boss.may_publish("t")
    assert screen is not None
    assert (screen.may_subscribe("a/b"), screen.may_publish("a/b"), screen.may_publish("b")) == (True, False, True)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: a, password: HASH, role: mapper, topics: []}", "unknown key `users\\[0\\].topics`"),
        ("{name: a, password: HASH, rol: mapper}", "did you mean `users\\[0\\].role`"),
        ("{name: a, password: HASH}", "one of `device`, `role`"),
        ("{name: a, password: HASH, role: full, device: x/y}", "one of `device`, `role`"),
        ("{name: a, password: HASH, role: king}", "invalid enum value"),
        ("{name: a, password: HASH, device: s1}", "is not <namespace>/<name>"),
        ("{name: a, password: HASH, publish: [a#]}", "filter has #"),
        ("{name: a, password: plain, role: full}", "a password hash reads"),
        ("{name: '', password: HASH, role: full}", "a user has a name"),
        ("{name: a, password: $7$x, role: full}", "a password hash reads"),
        ("{password: HASH, role: full}", "missing required field `name`"),
        ("{name: a, password: HASH, role: full}\n- {name: a, password: HASH, role: full}", "'a' is there twice"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, entry: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_users(written(tmp_path, f"users:\n- {entry}\n"))


def test_a_user_without_a_password_comes_by_certificate_only(tmp_path: Path) -> None:
    users = load_users(written(tmp_path, "users: [{name: s1, device: default/s1}]"))
    assert users.check("s1", b"") is None
    certified = users.certified("s1")
    assert certified is not None
    assert certified.may_publish(D + "twin/update")
    assert users.certified("s2") is None
