"""How a device is and why: what is told at once, what only now and then, and what not at all."""

from mappers.driver import BadAnswer, Refused
from mappers.health import MOST_NAMED, QUIET_S, Health, State


def online() -> Health:
    health = Health("default/a")
    health.answers(at_all=True)
    assert health.news(0) == [State("default/a", "online")]
    return health


def test_before_anything_is_known_nothing_is_told() -> None:
    health = Health("default/a")
    assert (health.state, health.news(0), health.told()) == ("", [], [])


def test_what_did_not_change_is_told_once() -> None:
    health = online()
    health.answers(at_all=True)
    assert health.news(1000) == []
    assert health.told() == [State("default/a", "online")]


def test_a_change_of_state_is_told_at_once() -> None:
    health = online()
    health.silent("did not answer", "NoAnswer")
    assert health.news(0.1) == [State("default/a", "offline", "NoAnswer", "did not answer")]
    health.answers(at_all=True)
    assert health.news(0.2) == [State("default/a", "online")]


def test_an_error_that_goes_on_with_other_words_is_told_now_and_then() -> None:
    health = online()
    health.silent("did not answer, 1", "NoAnswer")
    health.news(1)
    told = []
    for n in range(2, 40):
        health.silent(f"did not answer, {n}", "NoAnswer")
        told += [(n, state.message) for state in health.news(float(n))]
    assert told == [(n, f"did not answer, {n}") for n in (11, 21, 31)]
    assert QUIET_S == 10


def test_a_property_that_cannot_be_read_is_told_and_so_is_its_return() -> None:
    health = online()
    health.unreadable("temp", Refused("exception 2"))
    health.answers(at_all=True)
    assert health.news(1) == [State("default/a", "online", "Unreadable", "temp: exception 2")]
    health.readable("temp")
    health.answers(at_all=True)
    assert health.news(2) == [State("default/a", "online")]


def test_a_refused_value_is_told_at_once_and_so_is_its_end() -> None:
    health = online()
    health.refused("level", "'99': too much")
    health.answers(at_all=True)
    assert health.news(0.1) == [State("default/a", "online", refused={"level": "'99': too much"})]
    health.refused("level", "'98': too much")
    assert health.news(0.2) == [State("default/a", "online", refused={"level": "'98': too much"})]
    health.follows("level")
    assert health.news(0.3) == [State("default/a", "online")]


def test_of_many_properties_some_are_named_and_the_rest_is_counted() -> None:
    health = online()
    for n in range(100):
        health.unreadable(f"p{n}", BadAnswer("x" * 300))
        health.refused(f"p{n}", "y" * 300)
    health.answers(at_all=False)
    (state,) = health.news(1)
    assert len(state.message) <= 1000
    assert state.message.startswith("p0: xxx")
    assert state.message.endswith("; and 84 more")
    assert len(state.refused) == MOST_NAMED
    assert max(map(len, state.refused.values())) == 200


def test_properties_that_are_gone_are_forgotten() -> None:
    health = online()
    health.unreadable("a", BadAnswer("x"))
    health.refused("a", "y")
    health.keep({"b"})
    health.answers(at_all=True)
    assert health.news(1) == []
