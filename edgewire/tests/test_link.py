"""The link by function calls: acknowledgement, window, resend, keepalive, silence; and a lossy wire against a model."""

import contextlib
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewire import link as links
from edgewire import message as wire
from edgewire.link import RECEIPT_BYTES, STREAMS_WINDOW, Delivered, Link, PeerSilent, Received, Refused, Undelivered
from edgewire.message import MAX_FRAME, Message, MessageError


def edge(**options: float) -> Link:
    return Link(
        source="edgehub", now=0.0, keepalive_s=options.get("keepalive_s"), window=int(options.get("window", 64))
    )


def cloud() -> Link:
    return Link(source="cloudhub", now=0.0, silence_s=30.0)


def update(key: str, content: object = None) -> Message:
    return wire.build(wire.UPDATE, key, content, source="edgehub", resource_version="1")


def sent(link: Link, now: float = 0.0) -> list[Message]:
    return [wire.decode(frame) for frame in link.frames(now)]


def contents(messages: list[Message]) -> list[object]:
    return [m.read(object) for m in messages]


# Offering


def test_an_offered_object_is_sent_and_in_flight_until_it_is_acknowledged() -> None:
    link = edge()
    link.offer("a", lambda: update("a"))
    (message,) = sent(link)
    assert link.unfinished == 1
    answer = wire.encode(wire.acknowledgement(message))
    assert link.receive(answer, 1.0) == [Delivered("a", message)]
    assert link.unfinished == 0
    assert link.receive(answer, 1.0) == []  # a second answer says nothing new


def test_of_an_object_that_changes_while_it_waits_only_the_newest_state_is_sent() -> None:
    link = edge()
    state = {"n": 0}
    for n in range(5):
        state["n"] = n
        link.offer("a", lambda: update("a", state["n"]))
    assert contents(sent(link)) == [4]


def test_an_object_is_never_twice_in_flight() -> None:
    link = edge()
    link.offer("a", lambda: update("a", 1))
    (first,) = sent(link)
    link.offer("a", lambda: update("a", 2))
    assert sent(link) == []
    link.receive(wire.encode(wire.acknowledgement(first)), 0.0)
    assert contents(sent(link)) == [2]


def test_no_more_objects_are_in_flight_than_the_window_has_room_for() -> None:
    link = edge(window=3)
    for n in range(10):
        link.offer(f"k{n}", lambda n=n: update(f"k{n}", n))  # type: ignore[misc]
    flying = sent(link)
    assert contents(flying) == [0, 1, 2]
    assert link.unfinished == 10
    link.receive(wire.encode(wire.acknowledgement(flying[1])), 0.0)
    assert contents(sent(link)) == [3]


def test_an_object_in_flight_that_changed_again_does_not_hold_up_those_behind_it() -> None:
    link = edge(window=2)
    link.offer("a", lambda: update("a", 1))
    sent(link)
    link.offer("a", lambda: update("a", 2))
    link.offer("b", lambda: update("b", 3))
    assert contents(sent(link)) == [3]


def test_objects_that_turn_out_to_have_nothing_to_say_take_no_room() -> None:
    link = edge(window=1)
    for n in range(5):
        link.offer(f"k{n}", lambda: None)
    link.offer("a", lambda: update("a"))
    assert [m.resource for m in sent(link)] == ["a"]
    assert link.unfinished == 1


def test_what_is_withdrawn_is_not_sent() -> None:
    link = edge()
    link.offer("a", lambda: update("a"))
    link.withdraw("a")
    link.withdraw("never offered")
    assert sent(link) == []
    assert link.unfinished == 0


def test_an_object_may_be_offered_while_another_is_being_built() -> None:
    link = edge()

    def build() -> Message:
        link.offer("b", lambda: update("b"))
        return update("a")

    link.offer("a", build)
    assert [m.resource for m in sent(link)] == ["a", "b"]


# Time


def test_an_unanswered_message_is_sent_again_every_five_seconds_and_given_up_after_five_repeats() -> None:
    link = edge()
    link.offer("a", lambda: update("a"))
    (first,) = sent(link, 100.0)
    assert link.next_tick() == 105.0
    assert link.tick(104.9) == []
    assert sent(link, 104.9) == []
    for repeat in range(1, 6):
        assert link.tick(100.0 + 5 * repeat) == []
        assert sent(link) == [first]
    assert link.next_tick() == 130.0
    assert link.tick(130.0) == [Undelivered("a", first)]
    assert sent(link) == []
    assert link.next_tick() is None
    assert link.unfinished == 0


def test_an_object_given_up_may_be_offered_again() -> None:
    link = edge()
    link.offer("a", lambda: update("a", 1))
    for now in range(0, 31, 5):
        link.tick(now)
        link.frames(now)
    link.offer("a", lambda: update("a", 2))
    assert contents(sent(link, 31.0)) == [2]


def test_the_edge_says_that_it_is_alive_on_connecting_and_every_fifteen_seconds() -> None:
    link = edge(keepalive_s=15.0)
    said = []
    for now in range(60):
        link.tick(float(now))
        said += [(now, m.operation, m.read(str)) for m in sent(link, float(now))]
    assert said == [(now, wire.KEEPALIVE, "ping") for now in (0, 15, 30, 45)]


def test_a_keepalive_is_no_event_and_breaks_the_silence() -> None:
    link = cloud()
    assert link.receive(wire.encode(links.keepalive()), 29.0) == []
    assert link.tick(58.9) == []
    assert link.next_tick() == 59.0
    assert link.tick(59.0) == [PeerSilent(30.0)]


@pytest.mark.parametrize("frame", [b"garbage", wire.encode(update("a"))])
def test_any_frame_breaks_the_silence(frame: bytes) -> None:
    link = cloud()
    with contextlib.suppress(MessageError):
        link.receive(frame, 20.0)
    assert link.tick(49.9) == []
    assert link.tick(50.0) == [PeerSilent(30.0)]


def test_without_deadlines_nothing_is_due() -> None:
    link = edge()
    assert link.next_tick() is None
    assert link.tick(1e9) == []


# Answers


def test_a_message_is_handed_over_and_acknowledged_when_it_is_safe() -> None:
    link = cloud()
    message = update("default/device/s1")
    assert link.receive(wire.encode(message), 0.0) == [Received(message)]
    assert sent(link) == []
    link.acknowledge(message)
    (answer,) = sent(link)
    assert (answer.operation, answer.parent_id) == (wire.RESPONSE, message.id)


def test_a_refusal_ends_the_repetition_and_says_why() -> None:
    sender, receiver = edge(), cloud()
    sender.offer("a", lambda: update("a"))
    (message,) = sent(sender)
    receiver.refuse(message, 404, "no such device")
    (frame,) = receiver.frames(0.0)
    assert sender.receive(frame, 0.0) == [Refused("a", message, 404, "no such device")]
    assert wire.decode(frame).source == "cloudhub"
    assert sender.next_tick() is None
    assert sender.tick(1000.0) == []


def test_a_refusal_in_kubeedges_words_is_a_refusal_too() -> None:
    link = edge()
    link.offer("a", lambda: update("a"))
    (message,) = sent(link)
    answer = wire.refusal(message.id, "a", 0, "", source="x")
    frame = wire.encode(answer).replace(bytes(answer.content), b'"device not found"')
    assert link.receive(frame, 0.0) == [Refused("a", message, 500, "device not found")]


@pytest.mark.parametrize("operation", [wire.RESPONSE, wire.ERROR])
def test_an_answer_to_something_else_is_ignored(operation: str) -> None:
    link = edge()
    link.offer("a", lambda: update("a"))
    sent(link)
    assert link.receive(wire.encode(wire.build(operation, "a", "OK", source="x")), 0.0) == []
    assert link.unfinished == 1
    assert sent(link) == []


def test_what_is_longer_than_the_peer_takes_is_never_sent_and_refused_here() -> None:
    link = edge()
    longest = MAX_FRAME - len(wire.encode(update("a", "")))
    fits, long = update("a", "x" * longest), update("b", "x" * (longest + 1))
    for key, message in (("a", fits), ("b", long), ("c", update("c"))):
        link.offer(key, lambda message=message: message)  # type: ignore[misc]
    assert [len(frame) <= MAX_FRAME for frame in link.frames(1.0)] == [True, True]
    assert link.next_tick() is not None
    assert (link.next_tick() or 0) <= 1.0
    (refused,) = link.tick(1.0)
    assert isinstance(refused, Refused)
    assert (refused.key, refused.message, refused.code) == ("b", long, 413)
    assert (link.tick(1.0), link.unfinished, link.next_tick()) == ([], 2, 6.0)
    link.send(long)
    assert link.frames(1.0) == []  # what needs no answer may be lost


def test_a_frame_that_is_none_is_refused_to_its_sender_and_the_link_goes_on() -> None:
    link = cloud()
    with pytest.raises(MessageError, match="missing required field `route`"):
        link.receive(b'{"header":{"msg_id":"m7"}}', 0.0)
    with pytest.raises(MessageError, match="malformed"):
        link.receive(b"not json", 0.0)
    named, unnamed = sent(link)
    assert (named.operation, named.parent_id) == (wire.ERROR, "m7")
    assert "missing required field `route`" in named.read(wire.Refusal).reason
    assert (unnamed.operation, unnamed.parent_id) == (wire.ERROR, "")
    message = update("a")
    assert link.receive(wire.encode(message), 0.0) == [Received(message)]


def test_two_links_do_not_refuse_each_others_refusals_for_ever() -> None:
    one, other = edge(), cloud()
    with pytest.raises(MessageError):
        one.receive(b"not json", 0.0)
    for frame in one.frames(0.0):
        assert other.receive(frame, 0.0) == []
    assert other.frames(0.0) == []


def test_what_waits_for_a_peer_that_does_not_read_is_bounded() -> None:
    link = cloud()
    flood = [update("a", n) for n in range(links.OUTGOING_LIMIT + 500)]
    for message in flood:
        link.acknowledge(message)
        with pytest.raises(MessageError):
            link.receive(b"garbage", 0.0)
    answers = sent(link)
    assert len(answers) == links.OUTGOING_LIMIT
    assert answers[-2].parent_id == flood[-1].id  # what was dropped is the oldest: its sender repeats it


def test_a_message_that_needs_no_answer_is_sent_once() -> None:
    link = cloud()
    message = update("membership")
    link.send(message)
    assert sent(link) == [message]
    assert sent(link) == []
    assert link.next_tick() == 30.0


def test_what_is_sent_last_keeps_a_report_waiting_for_one_message_at_most() -> None:
    link = edge()
    flood = [wire.build("data", f"stream/{number}", number, source="edged") for number in range(100)]
    for message in flood:
        link.send_last(message)
    written = sent(link) + sent(link)
    assert written == flood[:2]
    link.offer("a", lambda: update("a", "report"))
    assert [m.resource for m in sent(link)] == ["a", "stream/2"]
    assert link.more
    rest = []
    while link.more:
        (message,) = sent(link)
        rest.append(message)
    assert [*written, flood[2], *rest] == flood  # in order, and all of it
    assert sent(link) == []


def test_an_acknowledgement_goes_before_what_is_sent_last() -> None:
    link = edge()
    link.send_last(wire.build("data", "stream/1", "x", source="edged"))
    link.acknowledge(update("b"))
    assert [m.operation for m in sent(link)] == [wire.RESPONSE, "data"]


def piece(number: int) -> Message:
    return wire.build("data", f"stream/{number}", "x" * 4000, source="edged", group=wire.GROUP_STREAM)


def opened(here: Link, there: Link) -> None:
    """Somebody in the cloud asks for a stream, and each side learns of the other that it tells what comes."""
    there.send_last(wire.build("open", "stream/1", source="cloudhub", group=wire.GROUP_STREAM))
    for _ in range(2):
        for frame in there.frames(0.0):
            here.receive(frame, 0.0)
        for frame in here.frames(0.0):
            there.receive(frame, 0.0)


def test_a_peer_that_never_tells_what_has_come_is_not_waited_for() -> None:
    here, older = edge(), cloud()
    flood = [piece(number) for number in range(100)]
    for message in flood:
        here.send_last(message)
    got = []
    while here.more:
        for frame in here.frames(0.0):
            got += [event.message for event in older.receive(frame, 0.0) if isinstance(event, Received)]
    assert got == flood


def test_of_streams_no_more_is_on_its_way_than_has_a_place_and_reports_pass() -> None:
    here, there = edge(), cloud()
    opened(here, there)
    flood = [piece(number) for number in range(100)]
    for message in flood:
        here.send_last(message)
    line = here.frames(0.0)
    while here.more:
        line += here.frames(0.0)
    assert STREAMS_WINDOW <= sum(map(len, line)) < STREAMS_WINDOW + len(line[0])
    assert here.frames(0.0) == []
    here.offer("a", lambda: update("a", "report"))
    assert [m.resource for m in sent(here)] == ["a"]
    got = []
    while line:
        for frame in line:
            got += [event.message for event in there.receive(frame, 0.0) if isinstance(event, Received)]
        for receipt in there.frames(0.0):
            assert here.receive(receipt, 0.0) == []
        line = here.frames(0.0)
        while here.more:
            line += here.frames(0.0)
    assert got == flood


def test_a_receipt_tells_all_that_came_and_of_no_more_than_was_sent() -> None:
    here, there = edge(), cloud()
    opened(here, there)
    here.send_last(piece(0))
    [frame] = here.frames(0.0)
    for _ in range(1 + RECEIPT_BYTES // len(frame)):
        there.receive(frame, 0.0)
    [receipt] = sent(there)
    assert receipt.read(int) >= RECEIPT_BYTES
    assert sent(there) == []
    boast = wire.build(wire.RECEIPT, "streams", 10**12, source="cloudhub", group=wire.GROUP_STREAM)
    here.receive(wire.encode(boast), 0.0)
    for number in range(100):
        here.send_last(piece(number))
    on_its_way = 0
    while here.more:
        on_its_way += sum(map(len, here.frames(0.0)))
    assert on_its_way < STREAMS_WINDOW + len(frame), "what it said of the future counts for nothing"


def test_a_receipt_that_makes_no_sense_is_an_error_of_the_peers() -> None:
    link = edge()
    with pytest.raises(MessageError):
        link.receive(wire.encode(wire.build(wire.RECEIPT, "streams", "much", source="cloudhub")), 0.0)


def test_many_objects_cost_no_more_each_than_few() -> None:
    """Offering and landing 20,000 objects one by one looks at a few keys each time, not at all that wait."""
    link = edge(window=4)
    looked = 0

    class Counted(str):
        def __hash__(self) -> int:
            nonlocal looked
            looked += 1
            return super().__hash__()

    for n in range(20_000):
        link.offer(Counted(n), lambda: update("a"))
    landed = 0
    while flying := sent(link):
        for message in flying:
            landed += len(link.receive(wire.encode(wire.acknowledgement(message)), 0.0))
    assert landed == 20_000
    assert looked < 20_000 * 20


# A wire that loses, repeats and breaks, against a model

KEYS = ("a", "b", "c", "d", "e")
WINDOW = 3
END_S = 0.5


class LossyWire(RuleBasedStateMachine):
    """The edge tells the cloud the newest version of each key over a wire that loses and repeats frames, and is cut.

    What the cloud has may never go back, and once the wire behaves, it has everything.
    """

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.newest: dict[str, int] = {}
        self.dirty: dict[str, int] = {}
        """What the edge knows not to be delivered, as EdgeHub keeps it across connections."""
        self.has: dict[str, int] = {}
        self.unsaved: list[Message] = []
        self.connect()

    @rule()
    def connect(self) -> None:
        """Both ends and everything on the wire are gone; the edge offers what is not acknowledged."""
        self.edge = Link(source="edgehub", now=self.now, window=WINDOW, keepalive_s=15.0)
        self.cloud = Link(source="cloudhub", now=self.now, silence_s=30.0)
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.unsaved = []
        for key in self.dirty:
            self.offer(key)

    @rule(key=st.sampled_from(KEYS))
    def change(self, key: str) -> None:
        self.newest[key] = self.newest.get(key, 0) + 1
        self.dirty[key] = self.newest[key]
        self.offer(key)

    def offer(self, key: str) -> None:
        self.edge.offer(key, lambda: update(key, self.newest[key]) if key in self.dirty else None)

    @rule()
    def write(self) -> None:
        self.up.extend(self.edge.frames(self.now))
        self.down.extend(self.cloud.frames(self.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 5.0, 7.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if not self.handle(self.edge.tick(self.now)) or not self.handle(self.cloud.tick(self.now)):
            self.connect()

    @precondition(lambda self: self.up)
    @rule(fate=st.sampled_from(["arrives", "arrives", "arrives", "lost", "twice"]))
    def carry_up(self, fate: str) -> None:
        frame = self.up.popleft()
        for _ in range({"arrives": 1, "lost": 0, "twice": 2}[fate]):
            for event in self.cloud.receive(frame, self.now):
                assert isinstance(event, Received)
                self.unsaved.append(event.message)

    @precondition(lambda self: self.unsaved)
    @rule()
    def save(self) -> None:
        """The cloud makes the oldest message durable, and says so."""
        message = self.unsaved.pop(0)
        assert message.read(int) >= self.has.get(message.resource, 0), "an older state came after a newer one"
        self.has[message.resource] = message.read(int)
        self.cloud.acknowledge(message)

    @precondition(lambda self: self.unsaved)
    @rule()
    def lose_unsaved(self) -> None:
        """The cloud could not save a message, and says nothing."""
        self.unsaved.pop(0)

    @precondition(lambda self: self.down)
    @rule(fate=st.sampled_from(["arrives", "arrives", "arrives", "lost", "twice"]))
    def carry_down(self, fate: str) -> None:
        frame = self.down.popleft()
        for _ in range({"arrives": 1, "lost": 0, "twice": 2}[fate]):
            self.handle(self.edge.receive(frame, self.now))

    def handle(self, events: list[links.Event]) -> bool:
        for event in events:
            match event:
                case Delivered(key, message):
                    told = message.read(int)
                    assert self.has[key] >= told, "acknowledged, and yet the cloud does not have it"
                    if self.dirty.get(key) == told:
                        del self.dirty[key]
                case Undelivered(key, _):
                    self.offer(key)
                case PeerSilent():
                    return False
                case _:
                    raise AssertionError(event)
        return True

    @invariant()
    def the_edge_holds_no_more_than_one_of_each_key(self) -> None:
        if hasattr(self, "edge"):
            in_flight = [flight.key for flight in self.edge._flights.values()]
            assert len(in_flight) == len(set(in_flight)) <= WINDOW
            assert self.edge.unfinished <= len(KEYS)
            assert len(self.edge._waiting) <= len(KEYS)
            assert set(self.dirty) <= set(in_flight) | self.edge._waiting.keys()

    def teardown(self) -> None:
        if not hasattr(self, "edge"):
            return
        for _ in range(100):
            self.wait(END_S)
            self.write()
            while self.up:
                self.carry_up("arrives")
            while self.unsaved:
                self.save()
            self.write()
            while self.down:
                self.carry_down("arrives")
            if not self.dirty:
                break
        assert not self.dirty
        assert self.has == self.newest
        assert self.edge.unfinished == 0


LossyWire.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=60)
test_every_newest_state_arrives_over_a_lossy_repeating_breaking_wire = LossyWire.TestCase
