"""Streams from nodes as the cloud reads them: as far as they were allowed to come, and ended by whatever ends them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.node_streams import NodeStream, NodeStreams
from cloud.sessions import Listener
from cloud.tests.desk import Desk, Edge
from edgewire import link as links
from edgewire import message as wire
from edgewire import streams
from edgewire.streams import CHUNK, LEAST, WINDOW, Closed, Credit, Data, Opened, Part, cost


class Reader:
    """A desk with streams, and a node that answers by hand."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.streams = NodeStreams(self.desk.sessions)
        listeners: list[Listener] = [self.desk.nodes, self.desk.devices, self.desk.pods, self.streams]
        self.desk.sessions.attach(listeners, [self.desk.devices, self.desk.pods])
        self.wakes = 0

    def woken(self) -> None:
        self.wakes += 1

    def open(self, node: str = "edge1") -> NodeStream:
        stream = self.streams.open(node, "logs", {"pod": "web"}, self.woken)
        self.desk.settle()
        return stream

    def told(self, edge: Edge) -> list[Part]:
        """What the node was told of streams, and forget it."""
        parts = [streams.decode(message) for message in edge.messages if message.group == streams.GROUP]
        edge.messages.clear()
        return parts

    def say(self, edge: Edge, part: Part) -> None:
        edge.link.send(streams.encode(part, "edged"))
        self.desk.settle()


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_a_stream_is_asked_for_read_and_over(reader: Reader) -> None:
    edge = reader.desk.connect()
    stream = reader.open()
    assert reader.told(edge) == [Opened(stream.id, "logs", {"pod": "web"})]
    reader.say(edge, Data(stream.id, b"hel"))
    reader.say(edge, Data(stream.id, b"lo"))
    assert reader.wakes == 2
    assert stream.take() == b"hello"
    reader.desk.settle()
    assert reader.told(edge) == [Credit(stream.id, 2 * LEAST)]
    reader.say(edge, Closed(stream.id))
    assert stream.end == Closed(stream.id)
    reader.streams.close(stream)
    reader.desk.settle()
    assert reader.told(edge) == []


def test_what_was_not_taken_is_not_allowed_again(reader: Reader) -> None:
    edge = reader.desk.connect()
    stream = reader.open()
    reader.told(edge)
    for _ in range(WINDOW // CHUNK):
        reader.say(edge, Data(stream.id, bytes(CHUNK)))
    assert reader.told(edge) == []
    reader.say(edge, Data(stream.id, b"x"))
    assert stream.end is not None
    assert stream.end.code == 502
    assert reader.told(edge) == [Closed(stream.id, 400, "more than was allowed")]
    assert len(stream.take()) == WINDOW


def test_a_reader_that_goes_tells_the_node(reader: Reader) -> None:
    edge = reader.desk.connect()
    stream = reader.open()
    reader.told(edge)
    reader.streams.close(stream)
    reader.desk.settle()
    assert reader.told(edge) == [Closed(stream.id)]
    reader.say(edge, Data(stream.id, b"late"))
    assert stream.take() == b""


def test_a_node_that_loses_its_link_ends_its_streams_and_no_others(reader: Reader) -> None:
    edge, _ = reader.desk.connect(), reader.desk.connect("edge2")
    stream, other = reader.open(), reader.open("edge2")
    reader.desk.disconnect(edge)
    assert stream.end == Closed(stream.id, 503, "node edge1 has lost its link")
    assert other.end is None


def test_a_connection_that_takes_over_ends_what_flowed_over_the_old_one(reader: Reader) -> None:
    reader.desk.connect()
    stream = reader.open()
    reader.desk.connect()
    assert stream.end is not None


def test_what_is_said_in_streams_keeps_nothing_else_waiting(reader: Reader) -> None:
    edge = reader.desk.connect()
    for _ in range(3):
        reader.streams.open("edge1", "logs", {"pod": "web"}, reader.woken)
    urgent = links.keepalive()
    edge.session.link.send(urgent)
    frames = [wire.decode(frame) for frame in edge.session.link.frames(reader.desk.now)]
    assert [frames[0].id, *(frame.resource for frame in frames[1:])] == [urgent.id, "streams", "stream/logs-1"]


def test_a_node_that_is_away_has_no_streams(reader: Reader) -> None:
    assert reader.open("edge9").end == Closed("logs-1", 503, "node edge9 is not connected")


def test_no_node_writes_into_the_stream_of_another(reader: Reader) -> None:
    reader.desk.connect()
    other = reader.desk.connect("edge2")
    stream = reader.open()
    reader.say(other, Data(stream.id, b"forged"))
    reader.say(other, Closed(stream.id, 404, "forged"))
    assert stream.take() == b""
    assert stream.end is None


def test_what_is_no_part_of_a_stream_is_refused_and_harms_nobody(reader: Reader) -> None:
    edge = reader.desk.connect()
    stream = reader.open()
    bad = streams.encode(Credit(stream.id, 5), "edged")
    edge.link.send(type(bad)(**{name: getattr(bad, name) for name in bad.__struct_fields__} | {"operation": "sing"}))
    reader.desk.settle()
    reader.say(edge, Data(stream.id, b"fine"))
    assert stream.take() == b"fine"


STEPS = st.lists(
    st.tuples(st.sampled_from(["node says", "reader takes", "reader says", "node takes"]), st.integers(1, CHUNK)),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_the_pace_no_window_is_exceeded_and_nothing_is_lost_or_reordered(steps: list[tuple[str, int]]) -> None:
    reader = Reader()
    edge = reader.desk.connect()
    stream = reader.open()
    reader.told(edge)
    room, sent, taken, said, heard, owed = WINDOW, b"", b"", b"", b"", 0
    for number, (what, size) in enumerate(steps):
        piece = bytes([number]) * size
        match what:
            case "node says" if room >= cost(piece):
                reader.say(edge, Data(stream.id, piece))
                room, sent = room - cost(piece), sent + piece
            case "reader takes":
                taken += stream.take()
            case "reader says" if stream.room >= cost(piece):
                stream.say(piece)
                said += piece
            case "node takes" if owed:
                reader.say(edge, Credit(stream.id, owed))
                owed = 0
        reader.desk.settle()
        for part in reader.told(edge):
            match part:
                case Credit(_, size):
                    room += size
                case Data(_, content):
                    heard, owed = heard + content, owed + cost(content)
        assert room <= WINDOW
        assert owed + stream.room == WINDOW
        assert stream.end is None
    assert (taken + stream.take(), heard) == (sent, said)


def test_more_than_the_node_takes_is_not_said(reader: Reader) -> None:
    edge = reader.desk.connect()
    stream = reader.open()
    for _ in range(WINDOW // CHUNK):
        stream.say(bytes(CHUNK))
    with pytest.raises(ValueError, match="are allowed"):
        stream.say(b"x")
    with pytest.raises(ValueError, match="are allowed"):
        stream.say(bytes(CHUNK + 1))
    reader.desk.disconnect(edge)
    stream.say(b"x")  # to nobody
