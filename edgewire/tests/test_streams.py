"""Parts of streams as messages of the link."""

import msgspec
import pytest

from edgewire import message as wire
from edgewire import streams
from edgewire.link import OUTGOING_LIMIT
from edgewire.message import MessageError
from edgewire.streams import Closed, Credit, Data, Opened, Part


@pytest.mark.parametrize(
    "part",
    [
        Opened("s1", "logs", {"pod": "web"}),
        Data("s1", b"\x00\xff\n"),
        Data("s1", b""),
        Credit("s1", 4096),
        Closed("s1"),
        Closed("s1", 404, "no such pod"),
    ],
)
def test_a_part_comes_over_the_link_as_it_was(part: Part) -> None:
    message = wire.decode(wire.encode(streams.encode(part, "edged")))
    assert message.group == streams.GROUP
    assert streams.decode(message) == part


@pytest.mark.parametrize(
    ("operation", "about", "content", "why"),
    [
        ("data", "device/a/b", "", "is no stream"),
        ("data", "stream/", "", "is no stream"),
        ("data", "stream/" + "x" * 100, "", "is no stream"),
        ("data", "stream/s", "%%", "data of stream s"),
        ("data", "stream/s", 5, "Expected `str`"),
        ("credit", "stream/s", "many", "Invalid|malformed|Expected"),
        ("open", "stream/s", {}, "kind"),
        ("sing", "stream/s", None, "no operation 'sing'"),
    ],
)
def test_what_is_no_part_is_refused(operation: str, about: str, content: object, why: str) -> None:
    raw = msgspec.Raw(msgspec.json.encode(content))
    message = wire.build(operation, about, raw, source="x", group=streams.GROUP)
    with pytest.raises(MessageError, match=why):
        streams.decode(message)


def test_a_link_holds_all_that_streams_may_have_under_way() -> None:
    pieces = streams.STREAMS_LIMIT * (streams.WINDOW // streams.LEAST)
    assert 2 * pieces + 2 * streams.STREAMS_LIMIT <= OUTGOING_LIMIT  # each with its credit; and begins and ends
    assert streams.FORWARDS_LIMIT < streams.STREAMS_LIMIT
