"""Bits of an integer, names of values, dead bands: what they make of a raw value, and back, and what cannot be."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.coding import Bits, Coding, Names
from mappers.driver import BadAnswer, DefinitionError, Value, ValueRefused
from mappers.plan import Point, Settings, make_plan
from mappers.tests.fakes import Toy, definition, device_json, model_json

MODEL = model_json(mode="STRING", pump="BOOLEAN", stage="INT", level="FLOAT", blob="BYTES")


def point(name: str, **keys: Any) -> Point:
    (found,) = make_plan(definition(device_json("a", **{name: keys}), MODEL), Toy(), Settings()).points
    return found


def coded(name: str, **keys: Any) -> Coding:
    found = point(name, **keys).coding
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "low", "width"), [("0", 0, 1), (3, 3, 1), ("4-7", 4, 4), ("7 - 4", 4, 4), ("0-63", 0, 64)]
)
def test_bits_are_one_or_a_range(key: int | str, low: int, width: int) -> None:
    assert coded("stage", bits=key).bits == Bits(low, width)


@pytest.mark.parametrize("key", ["x", "-1", "3-", "64", "1-2-3", "1.5", "٣", "111"])
def test_what_is_no_bits_is_refused_with_the_property(key: str) -> None:
    with pytest.raises(DefinitionError, match=r"Device property 'stage' visitors\.configData: `bits` '"):
        coded("stage", bits=key)


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 63), st.integers(0, 63))
def test_bits_written_where_they_were_read_change_nothing(raw: int, one: int, other: int) -> None:
    bits = Bits(min(one, other), abs(one - other) + 1)
    taken = bits.take(raw)
    assert 0 <= taken < 1 << bits.width
    assert bits.place(Decimal(taken)) == raw & bits.mask


def test_a_boolean_may_be_one_bit() -> None:
    bits = coded("pump", bits=3).bits
    assert bits is not None
    assert (bits.take(0b1000), bits.take(0b0111)) == (1, 0)
    assert (bits.place(True), bits.place(False), bits.mask) == (8, 0, 8)


@pytest.mark.parametrize("value", [Decimal(16), Decimal(-1), Decimal("1.5"), Decimal("1e300"), "7", b"7"])
def test_what_does_not_fit_the_bits_is_refused(value: Decimal | str | bytes) -> None:
    with pytest.raises(ValueRefused):
        Bits(4, 4).place(value)


@pytest.mark.parametrize("raw", [1.5, float("nan"), float("inf"), "on", b"1"])
def test_bits_of_what_is_no_integer_are_a_bad_answer(raw: Value) -> None:
    with pytest.raises(BadAnswer):
        Bits(0, 1).take(raw)


@pytest.mark.parametrize(
    ("raw", "name"),
    [(0, "off"), (1, "heating"), (True, "heating"), (0x1F, "fault"), (31.0, "fault"), ("31", "fault"), ("RUN", "go")],
)
def test_raw_values_have_names(raw: Value, name: str) -> None:
    assert coded("mode", enum={"0": "off", "1": "heating", "0x1F": "fault", "RUN": "go"}).decode(raw) == name


def test_a_raw_value_without_a_name_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match=r"^7 is not in `enum`$"):
        coded("mode", enum={"0": "off"}).decode(7)


def test_a_name_is_written_as_its_raw_value() -> None:
    names = Names({"0": "off", "1": "heating", "2": "heating", "RUN": "go"})
    assert [names.raw(n, "STRING") for n in ("off", "heating", "go")] == [Decimal(0), Decimal(1), "RUN"]


@pytest.mark.parametrize(("name", "reason"), [("heatng", "did you mean 'heating'?"), ("zzz", "one of off, heating")])
def test_a_name_that_is_not_there_is_refused_with_the_nearest(name: str, reason: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        Names({"0": "off", "1": "heating"}).raw(name, "STRING")
    assert str(caught.value) == f"not in `enum`: {reason}"


def test_bits_may_have_names() -> None:
    coding = coded("mode", bits="4-5", enum={"0": "off", "1": "low", "2": "high"})
    assert coding.decode(0xFF2F) == "high"


def test_names_may_be_of_any_type_of_the_model() -> None:
    assert coded("pump", enum={"5": "true", "0": "false"}).decode(5) == "true"
    assert Names({"5": "true", "0": "false"}).raw("1", "BOOLEAN") == 5


def test_a_driver_sees_an_integer_where_bits_are_taken_or_integers_named() -> None:
    seen = []

    class Seeing(Toy):
        def visitor(self, address: Any, keys: Any, model: Any) -> int:
            seen.append(model.type)
            return 0

    properties: dict[str, Any] = {"mode": {"enum": {"1": "on"}}, "pump": {"bits": 1}, "level": {"cell": 1}}
    make_plan(definition(device_json("a", None, **properties), MODEL), Seeing(), Settings())
    make_plan(definition(device_json("a", mode={"enum": {"RUN": "on"}}), MODEL), Seeing(), Settings())
    assert seen == ["INT", "INT", "FLOAT", "STRING"]


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        (
            "mode",
            {"enum": {"0": "off"}, "scale": 2},
            "`enum` and `scale` or `valueOffset`: what has a name is not scaled",
        ),
        ("level", {"enum": {"0": "0"}, "deadband": 1}, "`enum` and `deadband`: names have no distance"),
        ("stage", {"enum": {"0": "off"}}, "`enum` '0': 'off' is not an integer, and the model's type is INT"),
        ("mode", {"enum": {"0": False}}, "expected `str`, got `bool`"),
        ("mode", {"enums": {}}, "did you mean `enum`?"),
        ("blob", {"bits": 1}, "`bits` of BYTES"),
        ("mode", {"deadband": 1}, "`deadband` is for numbers, and the model's type is STRING"),
        ("level", {"deadband": "two"}, "`deadband` 'two' is neither a number (0.5) nor a percentage (2%)"),
        ("level", {"deadband": "-1"}, "`deadband` '-1' is neither"),
        ("level", {"deadband": "nan%"}, "`deadband` 'nan%' is neither"),
    ],
)
def test_a_mistake_names_its_key(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        point(name, **keys)
    assert message in str(caught.value)
    assert f"Device property '{name}' visitors.configData" in str(caught.value)


def test_keys_that_are_not_there_cost_nothing() -> None:
    plain = point("level", cell=1)
    assert (plain.coding, plain.dead_band) == (None, None)
    assert point("level", deadband="0").dead_band is None


@pytest.mark.parametrize(
    ("key", "reported", "near", "far"),
    [
        (0.5, "21.0", ["21.5", "20.5", "21"], ["21.51", "20.49", "nan", "inf"]),
        ("2%", "100", ["102", "98"], ["102.1", "97.9"]),
        ("2 %", "-100", ["-102", "-98"], ["-102.1"]),
        ("10%", "0", ["0"], ["0.001"]),
        ("1", "nan", [], ["1", "nan"]),
        ("1", "18446744073709551614", ["18446744073709551615"], ["18446744073709551612"]),
    ],
)
def test_a_dead_band_holds_what_is_near(key: float | str, reported: str, near: list[str], far: list[str]) -> None:
    band = point("level", deadband=key).dead_band
    assert band is not None
    assert [band.holds(reported, value) for value in near] == [True] * len(near)
    assert [band.holds(reported, value) for value in far] == [False] * len(far)
