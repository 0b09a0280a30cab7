"""Who gets which frame: questions, listeners, and answers that come too late."""

from typing import Any

import pytest

from edgewire.device import ModelProperty
from mappers.driver import BadAnswer, DriverError, NoAnswer, Refused, Value
from mappers.serial_dialogue import Dialogue, Question, results, unanswered
from mappers.serial_visitors import Address, Visitor, VisitorConfig, make_visitor


def visitor(type: str = "FLOAT", **keys: Any) -> Visitor:
    """A property on /dev/ttyS0."""
    renamed = {"decimalMark": "decimal_mark"}
    config = VisitorConfig(**{renamed.get(key, key): value for key, value in keys.items()})
    return make_visitor(Address(port="/dev/ttyS0"), config, ModelProperty("p", type=type))


def asked(*visitors: Visitor) -> Question:
    """A question for these."""
    return Question(visitors[0].ask, visitors)


class Listening:
    """A dialogue, and what its listeners heard."""

    def __init__(self, *visitors: Visitor) -> None:
        self.dialogue = Dialogue()
        self.heard: list[Value | DriverError] = []
        self.dialogue.listen(visitors, lambda visitor, value: self.heard.append(value))

    def say(self, *frames: bytes, at: float = 0) -> None:
        for frame in frames:
            self.dialogue.received(frame, at)


WEIGHT = visitor(ask="P", pattern="W(.*)")
TEMPERATURE = visitor(ask="T", pattern="T(.*)")
BARE, OTHER_BARE = visitor(ask="A", pattern=r"^[\d.-]+$"), visitor(ask="B", pattern=r"^[\d.-]+$")


def test_a_question_takes_the_frame_that_is_of_its_property_and_leaves_the_others() -> None:
    line = Listening()
    line.dialogue.question = question = asked(WEIGHT)
    line.say(b"T20", b"noise", b"")
    assert not question.done
    line.say(b"W12.5")
    assert question.done
    assert [str(value) for value in results(question, NoAnswer())] == ["12.5"]


def test_listeners_hear_while_a_question_is_under_way() -> None:
    line = Listening(visitor(pattern="W(.*)"))
    line.dialogue.question = question = asked(TEMPERATURE)
    line.say(b"W1", b"T20", b"W2")
    assert question.done
    assert line.heard == [1, 2]


def test_one_answer_may_serve_several_properties() -> None:
    line = Listening()
    line.dialogue.question = question = asked(
        visitor(ask="P", pattern="W(?P<w>.*) T(?P<t>.*)", field="w"),
        visitor(ask="P", pattern="W(?P<w>.*) T(?P<t>.*)", field="t"),
    )
    line.say(b"W5 T20")
    assert results(question, NoAnswer()) == [5, 20]


def test_an_answer_that_makes_no_sense_ends_the_wait() -> None:
    line = Listening()
    line.dialogue.question = question = asked(WEIGHT)
    line.say(b"W----")
    (found,) = results(question, NoAnswer())
    assert isinstance(found, BadAnswer)
    assert str(found) == "'----' is not a number, in 'W----'"


def test_a_refusal_ends_the_wait_in_the_devices_words() -> None:
    line = Listening()
    line.dialogue.question = question = asked(visitor(ask="P", pattern="W(.*)", error="^ERR (.*)"))
    line.say(b"ERR overload")
    (found,) = results(question, NoAnswer())
    assert isinstance(found, Refused)
    assert str(found) == "/dev/ttyS0 answered 'overload', asking 'P'"


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next() -> None:
    line = Listening()
    line.dialogue.given_up(asked(BARE), until=1.0)
    line.dialogue.question = question = asked(OTHER_BARE)
    line.say(b"111")
    assert not question.done
    line.say(b"222")
    assert results(question, NoAnswer()) == [222]


def test_an_answer_to_the_first_try_answers_the_second_and_the_other_is_not_taken_for_the_next() -> None:
    line = Listening()
    line.dialogue.given_up(asked(BARE), until=1.0)
    line.dialogue.question = again = asked(BARE)
    line.say(b"111")
    assert results(again, NoAnswer()) == [111]
    line.dialogue.question = other = asked(OTHER_BARE)
    line.say(b"112", b"222")
    assert results(other, NoAnswer()) == [222]


def test_a_late_answer_between_two_questions_settles_what_was_owed() -> None:
    line = Listening()
    line.dialogue.given_up(asked(BARE), until=1.0)
    line.say(b"111")
    line.dialogue.question = question = asked(OTHER_BARE)
    line.say(b"222")
    assert results(question, NoAnswer()) == [222]


def test_after_its_time_nothing_is_owed() -> None:
    line = Listening()
    line.dialogue.given_up(asked(BARE), until=1.0)
    line.dialogue.question = question = asked(OTHER_BARE)
    line.say(b"222", at=1.5)
    assert question.done


def test_questions_that_are_told_apart_by_their_answers_owe_each_other_nothing() -> None:
    line = Listening()
    line.dialogue.given_up(asked(WEIGHT), until=1.0)
    line.dialogue.question = question = asked(TEMPERATURE)
    line.say(b"T20")
    assert question.done


def test_what_is_owed_is_bounded() -> None:
    dialogue = Dialogue()
    for _ in range(1000):
        dialogue.given_up(asked(BARE), until=1.0)
    assert len(dialogue._owed) <= 8


def test_silence_is_told_with_what_came_instead() -> None:
    said = str(unanswered("asking 'P'", "/dev/ttyS0", 500, [b"a", b"b", b"c", b"\xff" * 100], 2))
    assert said.startswith("/dev/ttyS0 did not answer within 500 ms, asking 'P'; came instead: 'b', 'c', '\\xff")
    assert said.endswith("...; 2 frames were garbled")
    assert str(unanswered("asking 'P'", "x", 500, [], 0)) == "x did not answer within 500 ms, asking 'P'"


@pytest.mark.parametrize("frame", [b"", b"\xff\xfe", b"[" * 5000, b"{" * 5000, b"9" * 5000, b"1e999999999", b"\0" * 10])
def test_no_frame_whatever_it_holds_is_more_than_a_bad_answer(frame: bytes) -> None:
    line = Listening(
        visitor(json="/a"), visitor(pattern="(.+)"), visitor(column=1), visitor("STRING"), visitor(struct="<d"),
        visitor(sentence="GGA", field="latitude"), visitor("BOOLEAN"), visitor("INT", json="$"),
    )  # fmt: skip
    line.say(frame)
    for value in line.heard:
        assert isinstance(value, BadAnswer) or type(value) is str
