"""mosquitto's ACL language and password files, as text. What a broker does with them is asked of two in test_access.py."""

import pytest

from edge_gateway.broker.acl import DENY, READ, WRITE, AclUser, ListedUsers, Rule, parse_acl, parse_passwords
from edge_gateway.broker.passwords import hash_for_mosquitto
from edge_gateway.broker.users import ANONYMOUS
from edgewire.config import ConfigError

FILE = """
# Everybody hears this.
topic read announcements/#

user dashboard
topic read $hw/events/device/+/+/twin/update/document
topic deny plant/secret/#
topic   readwrite   plant/#
topic notes

pattern readwrite $hw/events/device/%u/#
pattern write clients/%c/state
"""


def client(name: str, client_id: str = "c", text: str = FILE) -> AclUser:
    return AclUser(name, "", parse_acl(text, "acl").rules(name, client_id))


def test_a_file_is_read_as_it_is() -> None:
    acl = parse_acl(FILE, "acl")
    assert acl.topics == {
        ANONYMOUS: [Rule(READ, "announcements/#")],
        "dashboard": [
            *(Rule(READ, "$hw/events/device/+/+/twin/update/document"), Rule(DENY, "plant/secret/#")),
            *(Rule(READ | WRITE, "plant/#"), Rule(READ | WRITE, "notes")),
        ],
    }
    assert acl.patterns == [Rule(3, "$hw/events/device/%u/#"), Rule(WRITE, "clients/%c/state")]


def test_a_user_has_the_rights_of_its_section_and_of_the_patterns() -> None:
    user = client("dashboard", "screen")
    assert user.may_publish("plant/x")
    assert user.may_publish("notes")
    assert not user.may_publish("$hw/events/device/default/s1/twin/update/document")
    assert user.may_read("$hw/events/device/default/s1/twin/update/document")
    assert user.may_publish("$hw/events/device/dashboard/x")
    assert user.may_publish("clients/screen/state")
    assert not user.may_publish("clients/other/state")
    assert not user.may_read("clients/screen/state")
    assert not user.may_read("announcements/x")


def test_denial_counts_before_permission_wherever_it_stands() -> None:
    for order in ("topic deny plant/secret/#\ntopic plant/#", "topic plant/#\ntopic deny plant/secret/#"):
        user = client("u", text="user u\n" + order)
        assert user.may_read("plant/x")
        assert not user.may_read("plant/secret/x")
        assert not user.may_publish("plant/secret")
        assert user.may_subscribe("plant/#")


def test_ones_own_permission_counts_before_a_pattern_that_denies() -> None:
    user = client("u", text="user u\ntopic a\npattern deny #")
    assert user.may_publish("a")
    assert not user.may_publish("b")


def test_a_client_without_a_user_has_what_stands_before_the_first_user_and_no_pattern_with_one() -> None:
    user = client(ANONYMOUS)
    assert user.may_read("announcements/x")
    assert not user.may_publish("announcements/x")
    assert not user.may_read("$hw/events/device//x")
    assert user.may_publish("clients/c/state")


@pytest.mark.parametrize(("name", "client_id"), [("#", "c"), ("+", "c"), ("u", "#"), ("u", "a/+")])
def test_wildcards_in_a_name_give_no_rights_of_patterns(name: str, client_id: str) -> None:
    user = client(name, client_id)
    assert not user.may_subscribe("$hw/#")
    assert not user.may_publish("clients/x/state")


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        *(("plant/#", True), ("plant/+/x", True), ("+/x", True), ("#", True), ("$hw/#", True), ("notes", True)),
        *(("other/#", False), ("$SYS/#", False), ("$ke/#", False), ("notes/x", False), ("clients/c/state", False)),
    ],
)
def test_a_subscription_is_refused_when_nothing_could_ever_come(asked: str, granted: bool) -> None:
    assert client("dashboard").may_subscribe(asked) == granted


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("topik read a", "line 2: 'topik read a' is none of"),
        ("topic", "line 2: 'topic' is none of"),
        ("user", "line 2: 'user' is none of"),
        ("topic raed a", "line 2: 'raed' is none of read, write, readwrite, deny"),
        ("topic read a/#/b", "line 2: 'a/#/b': filter has #"),
        ("pattern %u#", "line 2: '%u#': filter has #"),
    ],
)
def test_a_mistake_in_an_acl_is_named_with_its_line(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"acl, {problem}"):
        parse_acl(f"user me\n{line}\n", "acl")


def test_passwords_are_read_and_mistakes_named_with_their_line() -> None:
    made = hash_for_mosquitto("x")
    assert parse_passwords(f"# ours\na:{made}\n\nb:{made}\n", "pw") == {"a": made, "b": made}
    for text, problem in (
        (f"a:{made}\na:{made}", "line 2: user 'a'"),
        ("a", "line 1: a line"),
        ("a:b", "line 1: a pass"),
    ):
        with pytest.raises(ConfigError, match=f"pw, {problem}"):
            parse_passwords(text, "pw")


def test_users_come_by_password_by_certificate_and_without_a_name_as_far_as_allowed() -> None:
    closed = ListedUsers({"a": hash_for_mosquitto("x")})
    assert closed.check("a", b"x") is not None
    assert closed.check("a", b"y") is None
    assert (closed.anonymous(), closed.certified("a"), closed.certified("b")) == (None, None, None)
    open_to_all = ListedUsers({}, parse_acl(FILE, "acl"), allow_anonymous=True, allow_certificates=True)
    assert open_to_all.certified("") is None
    named, nobody = open_to_all.certified("dashboard"), open_to_all.anonymous()
    assert named is not None
    assert nobody is not None
    assert open_to_all.for_client(named, "c").may_publish("notes")
    assert not open_to_all.for_client(nobody, "c").may_publish("notes")
