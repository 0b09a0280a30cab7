"""Frames of the link: what goes in comes out, and no bytes a peer can send do harm."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from edgewire import message
from edgewire.message import Message, MessageError, decode, encode

HEADER = b'{"msg_id":"m1","timestamp":1}'
ROUTE = b'{"source":"s","group":"resource","operation":"update","resource":"default/pod/p"}'

texts = st.text(st.characters(codec="utf-8"))
messages = st.builds(
    Message,
    id=texts,
    parent_id=texts,
    timestamp=st.integers(-(2**63), 2**63 - 1),
    resource_version=texts,
    sync=st.booleans(),
    source=texts,
    group=texts,
    operation=texts,
    resource=texts,
    content=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: Raw(json.dumps(value).encode())),
)


def of_content(content: bytes) -> Message:
    return decode(b'{"header":%b,"route":%b,"content":%b}' % (HEADER, ROUTE, content))


@settings(deadline=None)
@given(messages)
def test_what_is_encoded_is_decoded_the_same(sent: Message) -> None:
    frame = encode(sent)
    assert decode(frame) == sent
    assert decode(frame.decode()) == sent
    assert encode(decode(frame)) == frame


@settings(deadline=None, max_examples=300)
@given(st.binary() | texts.map(str.encode))
def test_any_bytes_are_a_message_or_a_message_error(frame: bytes) -> None:
    try:
        decode(frame)
    except MessageError:
        return


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["header", "route", "content", "msg_id", "timestamp", "sync", "operation", "resource", "source"]
            )
            | st.text(),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(json_values)
def test_any_json_is_a_message_or_a_message_error(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for frame in (text, json.dumps(value).encode()):
        try:
            read = decode(frame)
        except MessageError:
            continue
        try:
            read.read(message.Refusal)
        except MessageError:
            continue


@settings(deadline=None, max_examples=300)
@given(messages, st.data())
def test_a_frame_with_a_changed_byte_is_a_message_or_a_message_error(sent: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(sent))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    for cut in (bytes(frame), bytes(frame[:at])):
        try:
            read = decode(cut)
            read.read(dict[str, Any])
        except MessageError:
            continue


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"not json", "frame: JSON is malformed"),
        (b"", "frame: Input data was truncated"),
        (b"7", "frame: Expected `object`, got `int`"),
        (b'{"header":%b,"content":1}' % HEADER, "frame: Object missing required field `route`"),
        (b'{"route":%b}' % ROUTE, "frame: Object missing required field `header`"),
        (b'{"header":{},"route":%b}' % ROUTE, "frame: Object missing required field `msg_id` - at `$.header`"),
        (b'{"header":%b,"route":{"source":"s"}}' % HEADER, "missing required field `operation` - at `$.route`"),
        (b'{"header":%b,"route":{"operation":5}}' % HEADER, "Expected `str`, got `int` - at `$.route.operation`"),
        (b'{"header":{"msg_id":"m1","timestamp":"now"}}', "Expected `int`, got `str` - at `$.header.timestamp`"),
        (b'{"header":%b,"route":%b,"content":' % (HEADER, ROUTE) + b"[" * 100_000, "maximum recursion depth"),
        (b'{"header":{"msg_id":"\xff","timestamp":1},"route":%b}' % ROUTE, "can't decode byte 0xff"),
        ('{"header":"\ud800"}', "surrogates not allowed"),
        (b" " * (message.MAX_FRAME + 1), f"frame of {message.MAX_FRAME + 1} characters is longer than"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_field_at_fault(frame: bytes | str, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode(frame)
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 300


def test_the_id_of_a_bad_frame_is_told_where_it_can_be_read() -> None:
    for frame in (b'{"header":%b}' % HEADER, b'{"header":{"msg_id":"m1","timestamp":"x"},"route":{}}'):
        with pytest.raises(MessageError) as caught:
            decode(frame)
        assert caught.value.message_id == "m1"
    with pytest.raises(MessageError) as caught:
        decode(b'{"header":{"msg_id":1}}')
    assert caught.value.message_id == ""


def test_a_go_peer_may_leave_out_what_is_empty_and_send_what_is_unknown() -> None:
    read = decode(b'{"header":{"msg_id":"m1","type":"channel"},"route":{"operation":"error","destination":"x"}}')
    assert (read.id, read.source, read.group, read.resource, read.timestamp) == ("m1", "", "", "", 0)
    assert bytes(read.content) == b"null"


def test_content_is_passed_on_byte_for_byte() -> None:
    odd = b'{"b" :1.50, "a":"\\u003c", "big":123456789012345678901234567890}'
    assert odd in encode(of_content(odd))


def test_content_is_read_as_a_type_also_from_a_text() -> None:
    assert of_content(b'{"code":400,"reason":"bad"}').read(message.Refusal) == message.Refusal(400, "bad")
    quoted = json.dumps('{"code":400,"reason":"bad"}').encode()
    assert of_content(quoted).read(message.Refusal) == message.Refusal(400, "bad")
    assert of_content(b'"OK"').read(str) == "OK"
    assert bytes(of_content(json.dumps('{"a":1}').encode()).read(Raw)) == b'{"a":1}'


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b'"OK"',
        b'{"code":"x","reason":""}',
        b'{"code":400}',
        b'{"code":1,"reason":"\xff"}',
        b'"\xff"',
        b'"{\\"code\\":1,\\"reason\\":\\"\\"' + b",x" * 9 + b'"',
    ],
)
def test_content_of_another_type_is_a_message_error_that_names_the_message(content: bytes) -> None:
    with pytest.raises(MessageError, match="content of update default/pod/p: ") as caught:
        of_content(content).read(message.Refusal)
    assert caught.value.message_id == "m1"


def test_content_nested_deeper_than_python_goes_is_a_message_error() -> None:
    deep = Message(id="m1", timestamp=1, source="", group="", operation="", resource="", content=Raw(b"[" * 100_000))
    with pytest.raises(MessageError, match="maximum recursion depth"):
        deep.read(list[Any])


def test_an_id_is_never_given_twice() -> None:
    assert len({message.build("update", "r", source="s").id for _ in range(1000)}) == 1000


def test_a_twin_report_is_acknowledged_where_kubeedge_looks_for_it() -> None:
    sent = message.build(message.UPDATE, "device/default/s1/twin/edge_updated", source="twin")
    answer = message.acknowledgement(sent)
    assert (answer.parent_id, answer.group, answer.resource) == (sent.id, message.GROUP_TWIN, "twin")


@pytest.mark.parametrize("namespace", ["default", "device"])
def test_an_object_is_acknowledged_by_its_name(namespace: str) -> None:
    sent = message.build(message.UPDATE, f"{namespace}/device/s1", source="devicecontroller", resource_version="7")
    answer = message.acknowledgement(sent)
    assert (answer.operation, answer.source, answer.group) == (message.RESPONSE, "devicecontroller", "resource")
    assert (answer.parent_id, answer.resource, bytes(answer.content)) == (sent.id, sent.resource, b'"OK"')


def test_a_refusal_says_which_message_why_and_by_whom() -> None:
    answer = message.refusal("m1", "default/device/s1", 400, "no model", source="edgehub")
    assert (answer.operation, answer.parent_id, answer.source) == (message.ERROR, "m1", "edgehub")
    assert decode(encode(answer)).read(message.Refusal) == message.Refusal(400, "no model")


def test_raw_content_is_not_encoded_again() -> None:
    assert bytes(message.build("update", "r", Raw(b'{"a" : 1}'), source="s").content) == b'{"a" : 1}'
    assert bytes(message.build("update", "r", source="s").content) == b"null"
