"""A list-watch tells each object once, whatever is told twice or missed in between."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.objects import Added, Deleted, Event, Modified, Object
from cloud.reflection import Reflection


def thing(name: str, version: int, uid: str = "u") -> Object:
    return Object("ns", name, uid, str(version), 1, b"{}")


def listed(reflection: Reflection, *objects: Object, version: int = 9) -> list[Event]:
    reflection.begin_list()
    return [*reflection.listed(objects), *reflection.end_list(str(version))]


def test_a_first_list_adds_everything() -> None:
    reflection = Reflection()
    assert listed(reflection, thing("a", 1), thing("b", 2)) == [Added(thing("a", 1)), Added(thing("b", 2))]
    assert reflection.version == "9"


def test_a_second_list_tells_what_is_new_different_or_gone() -> None:
    reflection = Reflection()
    listed(reflection, thing("a", 1), thing("b", 2), thing("c", 3))
    events = listed(reflection, thing("a", 1), thing("b", 5), thing("d", 6))
    assert events[:2] == [Modified(thing("b", 5)), Added(thing("d", 6))]
    [gone] = events[2:]
    assert isinstance(gone, Deleted)
    assert gone.object.id == "ns/c"


def test_an_object_made_anew_under_its_name_is_deleted_and_added() -> None:
    reflection = Reflection()
    listed(reflection, thing("a", 1))
    events = listed(reflection, thing("a", 5, "other"))
    assert [type(e) for e in events] == [Deleted, Added]


def test_an_event_told_twice_is_told_once() -> None:
    reflection = Reflection()
    listed(reflection, thing("a", 1))
    assert list(reflection.watched("ADDED", thing("a", 1))) == []
    assert list(reflection.watched("MODIFIED", thing("a", 2))) == [Modified(thing("a", 2))]
    assert len(list(reflection.watched("DELETED", thing("a", 3)))) == 1
    assert list(reflection.watched("DELETED", thing("a", 3))) == []
    assert reflection.version == "3"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=30))
def test_after_any_gap_what_was_told_is_what_exists(steps: list[tuple[str, bool, bool]]) -> None:
    reflection = Reflection()
    truth: dict[str, Object] = {}
    told: dict[str, Object] = {}
    for version, (name, exists, seen) in enumerate(steps, 1):
        object = thing(name, version)
        if exists:
            truth[name] = object
        else:
            truth.pop(name, None)
        events = list(reflection.watched("MODIFIED" if exists else "DELETED", object)) if seen else []
        if version % 5 == 0:
            events += listed(reflection, *truth.values())
        for event in events:
            apply(told, event)
    for event in listed(reflection, *truth.values()):
        apply(told, event)
    assert told == truth


def apply(told: dict[str, Object], event: Event) -> None:
    match event:
        case Added(object):
            assert object.name not in told
            told[object.name] = object
        case Modified(object):
            assert object.name in told
            told[object.name] = object
        case Deleted(object):
            del told[object.name]
