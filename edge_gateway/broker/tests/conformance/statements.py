"""The normative statements of MQTT 3.1.1 (OASIS Standard, 29 October 2014, appendix B), in short, and which tests ask for them.

`states` names the statements that a test asks for. What no test can ask at a socket has its reason in UNTESTABLE. What mosquitto
does otherwise is in MOSQUITTO_DIFFERS, per test: it is expected to fail there, and to fail always. `document` writes the table of
docs/mqtt-conformance.md.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

STATEMENTS = {
    "1.5.3-1": "ill-formed UTF-8 closes the connection",
    "1.5.3-2": "U+0000 in a string closes the connection",
    "1.5.3-3": "U+FEFF is a character like others and not stripped",
    "2.2.2-1": "reserved flags have the values of table 2.2",
    "2.2.2-2": "invalid flags close the connection",
    "2.3.1-1": "SUBSCRIBE, UNSUBSCRIBE, and PUBLISH above QoS 0 have a packet id that is not 0",
    "2.3.1-2": "a client gives a new packet an unused packet id",
    "2.3.1-3": "a client sends a packet again under the same packet id",
    "2.3.1-4": "the same holds for a server's PUBLISH above QoS 0",
    "2.3.1-5": "PUBLISH of QoS 0 has no packet id",
    "2.3.1-6": "PUBACK, PUBREC, PUBREL have the packet id of their PUBLISH",
    "2.3.1-7": "SUBACK and UNSUBACK have the packet id of what they answer",
    "3.1.0-1": "the first packet is CONNECT",
    "3.1.0-2": "a second CONNECT closes the connection",
    "3.1.2-1": "another protocol name is not processed as MQTT 3.1.1",
    "3.1.2-2": "an unsupported protocol level gets CONNACK 1, then is closed",
    "3.1.2-3": "CONNECT with its reserved flag set is closed",
    "3.1.2-4": "clean session 0 resumes the session, or makes one that is stored",
    "3.1.2-5": "later QoS 1 and 2 messages are stored for a session with clean session 0",
    "3.1.2-6": "clean session 1 discards the session before it and lasts as long as its connection",
    "3.1.2-7": "retained messages stay when a session ends",
    "3.1.2-8": "a will is stored, and published when the connection closes without DISCONNECT",
    "3.1.2-9": "with the will flag its QoS, retain flag, topic and message are used and present",
    "3.1.2-10": "a will is forgotten once published or after DISCONNECT",
    "3.1.2-11": "without the will flag the will's other flags and fields are absent",
    "3.1.2-12": "without the will flag no will is published",
    "3.1.2-13": "without the will flag the will's QoS is 0",
    "3.1.2-14": "a will's QoS is not 3",
    "3.1.2-15": "without the will flag the will's retain flag is 0",
    "3.1.2-16": "a will without its retain flag is not retained",
    "3.1.2-17": "a will with its retain flag is retained",
    "3.1.2-18": "without the user name flag there is no user name",
    "3.1.2-19": "with the user name flag there is one",
    "3.1.2-20": "without the password flag there is no password",
    "3.1.2-21": "with the password flag there is one",
    "3.1.2-22": "without the user name flag the password flag is 0",
    "3.1.2-23": "a client sends something within its keep alive",
    "3.1.2-24": "silence of 1.5 times the keep alive closes the connection as if it had failed",
    "3.1.3-1": "client id, will topic, will message, user name, password come in this order",
    "3.1.3-2": "state belongs to a client id",
    "3.1.3-3": "the client id is there and is first",
    "3.1.3-4": "the client id is UTF-8",
    "3.1.3-5": "client ids of 1 to 23 letters and digits are allowed",
    "3.1.3-6": "an empty client id is given one of its own",
    "3.1.3-7": "an empty client id comes with clean session 1",
    "3.1.3-8": "an empty client id with clean session 0 gets CONNACK 2, then is closed",
    "3.1.3-9": "a rejected client id gets CONNACK 2, then is closed",
    "3.1.3-10": "the will topic is UTF-8",
    "3.1.3-11": "the user name is UTF-8",
    "3.1.4-1": "a CONNECT that does not conform is closed without CONNACK",
    "3.1.4-2": "a client id that is connected already loses its older connection",
    "3.1.4-3": "clean session is processed when CONNECT is valid",
    "3.1.4-4": "a valid CONNECT gets CONNACK 0",
    "3.1.4-5": "nothing after a rejected CONNECT is processed",
    "3.2.0-1": "the server's first packet is CONNACK",
    "3.2.2-1": "clean session 1: session present is 0",
    "3.2.2-2": "clean session 0 with a stored session: session present is 1",
    "3.2.2-3": "clean session 0 without one: session present is 0",
    "3.2.2-4": "CONNACK other than 0: session present is 0",
    "3.2.2-5": "CONNACK other than 0: the connection is closed",
    "3.2.2-6": "without a fitting return code the connection is closed without CONNACK",
    "3.3.1-1": "DUP is 1 when a PUBLISH is delivered again",
    "3.3.1-2": "DUP is 0 with QoS 0",
    "3.3.1-3": "DUP to subscribers does not depend on DUP from the publisher",
    "3.3.1-4": "PUBLISH of QoS 3 closes the connection",
    "3.3.1-5": "a retained message is stored with its QoS",
    "3.3.1-6": "a new subscription gets the last retained message of each matching topic",
    "3.3.1-7": "a retained message of QoS 0 discards the one before it",
    "3.3.1-8": "what comes because of a new subscription has RETAIN 1",
    "3.3.1-9": "what comes because of an established subscription has RETAIN 0",
    "3.3.1-10": "an empty retained message is delivered, and removes the one before it",
    "3.3.1-11": "an empty retained message is not stored",
    "3.3.1-12": "a message without RETAIN leaves the retained one as it is",
    "3.3.2-1": "the topic is first in PUBLISH, and UTF-8",
    "3.3.2-2": "a topic in PUBLISH has no wildcards",
    "3.3.2-3": "the topic in a server's PUBLISH matches the subscription",
    "3.3.4-1": "PUBLISH is answered according to its QoS",
    "3.3.5-1": "with overlapping subscriptions the highest QoS counts",
    "3.3.5-2": "a PUBLISH that is not authorised is acknowledged, or the connection closed",
    "3.6.1-1": "PUBREL has flags 0010; others close the connection",
    "3.8.1-1": "SUBSCRIBE has flags 0010; others close the connection",
    "3.8.3-1": "filters in SUBSCRIBE are UTF-8",
    "3.8.3-2": "a server that supports no wildcards rejects them",
    "3.8.3-3": "SUBSCRIBE has at least one filter",
    "3.8.3-4": "a QoS in SUBSCRIBE other than 0, 1, 2 closes the connection",
    "3.8.4-1": "SUBSCRIBE is answered by SUBACK",
    "3.8.4-2": "SUBACK has the packet id of SUBSCRIBE",
    "3.8.4-3": "a subscription to the same filter replaces the first, and brings retained messages again",
    "3.8.4-4": "several filters are handled as several SUBSCRIBEs with one SUBACK",
    "3.8.4-5": "SUBACK has the QoS granted, or failure, for each filter",
    "3.8.4-6": "a message comes with the lower of its QoS and the QoS granted",
    "3.9.3-1": "return codes come in the order of the filters",
    "3.9.3-2": "return codes are 0, 1, 2 and 0x80",
    "3.10.1-1": "UNSUBSCRIBE has flags 0010; others close the connection",
    "3.10.3-1": "filters in UNSUBSCRIBE are UTF-8",
    "3.10.3-2": "UNSUBSCRIBE has at least one filter",
    "3.10.4-1": "filters are compared character by character",
    "3.10.4-2": "after UNSUBSCRIBE no new messages are added",
    "3.10.4-3": "QoS 1 and 2 messages on their way are completed after UNSUBSCRIBE",
    "3.10.4-4": "UNSUBACK has the packet id of UNSUBSCRIBE",
    "3.10.4-5": "UNSUBACK comes even where nothing was deleted",
    "3.10.4-6": "several filters are handled as several UNSUBSCRIBEs with one UNSUBACK",
    "3.12.4-1": "PINGREQ is answered by PINGRESP",
    "3.14.1-1": "DISCONNECT with flags closes the connection",
    "3.14.4-1": "a client closes the connection after DISCONNECT",
    "3.14.4-2": "a client sends nothing after DISCONNECT",
    "3.14.4-3": "DISCONNECT discards the will",
    "4.1.0-1": "session state is stored as long as the session lasts",
    "4.1.0-2": "a session lasts at least as long as its connection",
    "4.3.1-1": "QoS 0: the sender sends PUBLISH with QoS 0 and DUP 0",
    "4.3.2-1": "QoS 1, sender: unused packet id, DUP 0, unacknowledged until PUBACK",
    "4.3.2-2": "QoS 1, receiver: PUBACK; afterwards the packet id is a new publication",
    "4.3.3-1": "QoS 2, sender: PUBLISH until PUBREC, PUBREL until PUBCOMP, never PUBLISH after PUBREL",
    "4.3.3-2": "QoS 2, receiver: PUBREC, no duplicates until PUBREL, PUBCOMP; afterwards a new publication",
    "4.4.0-1": "after reconnecting, unacknowledged PUBLISH and PUBREL are sent again under their packet ids",
    "4.5.0-1": "a message is added to the session of every client with a matching subscription",
    "4.5.0-2": "a client acknowledges what it does not want, too",
    "4.6.0-1": "PUBLISHes are sent again in the order of the first time",
    "4.6.0-2": "PUBACKs come in the order of the PUBLISHes",
    "4.6.0-3": "PUBRECs come in the order of the PUBLISHes",
    "4.6.0-4": "PUBRELs come in the order of the PUBRECs",
    "4.6.0-5": "every topic is ordered by default",
    "4.6.0-6": "messages of a topic and QoS from one client keep their order",
    "4.7.1-1": "wildcards stand in filters, not in topics",
    "4.7.1-2": "# is last, and a level of its own",
    "4.7.1-3": "+ is a level of its own, any one",
    "4.7.2-1": "filters that begin with a wildcard do not match topics that begin with $",
    "4.7.3-1": "topics and filters have at least one character",
    "4.7.3-2": "topics and filters have no U+0000",
    "4.7.3-3": "topics and filters have at most 65535 bytes",
    "4.7.3-4": "topics and filters are not normalised",
    "4.8.0-1": "a protocol violation closes the connection",
    "4.8.0-2": "a transient error closes the connection",
    "6.0.0-1": "WebSockets: binary frames",
    "6.0.0-2": "WebSockets: packets and frames need not be aligned",
    "6.0.0-3": "WebSockets: a client offers the sub protocol mqtt",
    "6.0.0-4": "WebSockets: the server selects the sub protocol mqtt",
    "7.0.0-1": "what is server and client conforms as both",
    "7.0.0-2": "no extension is needed to interoperate",
    "7.1.1-1": "a server offers an ordered, lossless stream of bytes",
    "7.1.2-1": "a client uses one",
}

_CLIENT = "binds clients only"
_WEBSOCKETS = "the built-in broker has no WebSockets"
UNTESTABLE = {
    "2.3.1-2": _CLIENT,
    "2.3.1-3": _CLIENT,
    "3.1.2-23": _CLIENT,
    "3.1.3-7": _CLIENT + "; what a server does about it is 3.1.3-8",
    "3.2.2-6": "nothing that a client can send leads there",
    "3.8.3-2": "both brokers support wildcards",
    "3.14.4-1": _CLIENT,
    "3.14.4-2": _CLIENT,
    "4.5.0-2": _CLIENT,
    "4.8.0-2": "a client cannot cause a transient error",
    "6.0.0-1": _WEBSOCKETS,
    "6.0.0-2": _WEBSOCKETS,
    "6.0.0-3": _CLIENT,
    "6.0.0-4": _WEBSOCKETS,
    "7.0.0-1": "the built-in broker makes no connections",
    "7.1.2-1": _CLIENT,
}

LIMITED = {
    "3.1.2-5": "of more than 1,000 messages, or 8 MiB, that wait for a session the oldest are dropped",
    "3.3.1-5": "a retained message on the 20,001st topic is delivered and not stored",
    "4.3.2-2": "a payload over 256 KiB is acknowledged and dropped; at QoS 2 too",
    "4.3.3-2": "5,000 messages of QoS 2 without PUBREL; the next closes the connection",
    "4.7.3-3": "a topic or filter of more than 128 levels closes the connection",
}

_VIOLATION = "test_a_violation_closes_the_connection_and_no_other"
MOSQUITTO_DIFFERS: dict[str, str] = {
    "test_a_violation_publishes_the_will[second CONNECT]": "3.1.2-8: closes without publishing the will",
    "test_overlapping_subscriptions_bring_the_highest_qos[+]": "3.3.5-1: the QoS of the filter that it finds first",
    "test_overlapping_subscriptions_bring_the_highest_qos[#]": "3.3.5-1: the QoS of the filter that it finds first",
    "test_what_differs_under_a_packet_id_of_qos_2_is_a_duplicate_too": "4.3.3-2: another payload is a new publication",
    "test_after_pubrec_only_pubrel_is_sent_again_in_the_order_of_the_pubrecs": "4.6.0-4: in the order of the PUBLISHes",
    "test_a_filter_that_is_refused_has_its_place_among_the_return_codes": "grants it, and delivers nothing (allowed)",
    f"{_VIOLATION}[PUBACK with flags]": "2.2.2-2: taken as a PUBACK",
    f"{_VIOLATION}[PUBREC with flags]": "2.2.2-2: taken as a PUBREC",
    f"{_VIOLATION}[PUBCOMP with flags]": "2.2.2-2: taken as a PUBCOMP",
    f"{_VIOLATION}[PINGREQ with flags]": "2.2.2-2: answered",
    f"{_VIOLATION}[DUP with QoS 0]": "3.3.1-2: passed on",
    f"{_VIOLATION}[a SUBACK]": "4.8.0-1: ignored",
    f"{_VIOLATION}[an UNSUBACK]": "4.8.0-1: ignored",
    f"{_VIOLATION}[a PINGRESP]": "4.8.0-1: ignored",
}
"""Test, with the case in brackets if it has several -> what mosquitto 2.0 does instead."""

MODULES = ("test_malformed", "test_3_1_connect", "test_3_3_publish", "test_3_8_subscribe", "test_4_behaviour")
DOCUMENT = Path(__file__).parents[4] / "docs" / "mqtt-conformance.md"

Test = TypeVar("Test", bound=Callable[..., None])


def states(*numbers: str) -> Callable[[Test], Test]:
    """Mark a test with the statements that it asks for. Raises KeyError for one that is not in the specification."""
    for number in numbers:
        STATEMENTS[number]

    def mark(test: Test) -> Test:
        test.statements = numbers  # type: ignore[attr-defined]
        return test

    return mark


def asked() -> dict[str, list[str]]:
    """Statement -> the names of its tests."""
    found: dict[str, list[str]] = {}
    for module_name in MODULES:
        module = importlib.import_module(f"{__package__}.{module_name}")
        for name, test in vars(module).items():
            for number in getattr(test, "statements", ()) if name.startswith("test_") else ():
                found.setdefault(number, []).append(f"{module_name}.{name}")
    return found


def document() -> str:
    """The table as markdown."""
    found = asked()
    lines = [
        "# MQTT 3.1.1, statement by statement",
        "",
        "Every normative statement of the specification (appendix B), in short, and the test in",
        "`edge_gateway/broker/tests/conformance` that asks it of the built-in broker and of mosquitto 2.0 alike. Written by",
        "`python -m edge_gateway.broker.tests.conformance`.",
        "",
        "| statement | in short | test, or why there is none |",
        "|---|---|---|",
    ]
    for number, text in STATEMENTS.items():
        where = ", ".join(f"`{test.removeprefix('test_')}`" for test in found.get(number, ()))
        lines.append(f"| MQTT-{number} | {text} | {where or UNTESTABLE.get(number, '')} |")
    lines += [
        "",
        "## Where the limits of the built-in broker show",
        "",
        "The specification knows no limits; a broker in bounded memory has some (broker.md).",
        "",
        "| statement | limit |",
        "|---|---|",
        *(f"| MQTT-{number} | {what} |" for number, what in LIMITED.items()),
        "",
        "## What mosquitto does otherwise",
        "",
        "These tests are expected to fail on it, and would be reported if they passed.",
        "",
        "| test | mosquitto 2.0 |",
        "|---|---|",
        *(f"| `{test}` | {what} |" for test, what in sorted(MOSQUITTO_DIFFERS.items())),
    ]
    return "\n".join(lines) + "\n"
