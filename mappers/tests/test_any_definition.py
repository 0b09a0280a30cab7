"""Whatever stands in a Device or DeviceModel, and whatever a driver reads: a mistake is named, and garbage is never a value."""

import contextlib
import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewire.device import DeviceError, value_problem
from mappers.driver import BadAnswer, DefinitionError, Value, ValueRefused
from mappers.plan import Plan, Settings, make_plan
from mappers.tests.fakes import Toy, definition, device_json, model_json
from mappers.wishes import make_write

TYPES = ("INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES")
TEXTS = ("0.1", "2%", "3", "4-7", "off", "-1", "1e999", "nan", "0x1F", "http://a/b", "a/b", "true")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(TEXTS)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
visitor_keys = st.dictionaries(
    st.sampled_from(["cell", "scale", "valueOffset", "bits", "enum", "deadband", "scal"]), anything, max_size=3
)
push_keys = st.sampled_from(["url", "topic", "address", "qos", "bucket", "metric", "labels", "timeout", "influxdb2"])
push_methods = st.dictionaries(
    st.sampled_from(["http", "mqtt", "influx", "prometheus", "dbMethod", "otel"]),
    st.dictionaries(push_keys, anything, max_size=3) | anything,
    max_size=2,
)
limits = st.sampled_from(["", "0", "100", "-1.5", "low"])


def plan(type: str, keys: dict[str, Any], **rest: Any) -> Plan:
    """The plan of a device with one property `p`. Raises DefinitionError or DeviceError."""
    model = {"type": type, "minimum": rest.pop("minimum", ""), "maximum": rest.pop("maximum", "")}
    device = device_json("a", p={"cell": 1, **keys})
    device["spec"]["properties"][0].update(rest)
    return make_plan(definition(json.loads(json.dumps(device)), model_json(p=model)), Toy(), Settings())


@settings(deadline=None)
@given(st.sampled_from([*TYPES, "STREAM", "int"]), visitor_keys, push_methods, limits, limits)
def test_any_definition_is_used_or_its_mistake_named(
    type: str, keys: dict[str, Any], push: dict[str, Any], minimum: str, maximum: str
) -> None:
    try:
        made = plan(type, keys, pushMethod=push, minimum=minimum, maximum=maximum)
    except (DefinitionError, DeviceError):
        return
    assert len(made.points) == 1


usable_keys = st.sampled_from(
    [
        {}, {"scale": "0.1"}, {"scale": -3, "valueOffset": "1e-9"}, {"bits": "3"}, {"bits": "4-7", "scale": 2},
        {"deadband": "2%"}, {"deadband": 0.5, "scale": "0.01"}, {"enum": {"0": "1", "0x1F": "0", "RUN": "1"}},
        {"enum": {"true": "1"}, "bits": "0-63"},
    ]
)  # fmt: skip
raw_values = (
    st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.decimals()
    | st.text(max_size=10)
    | st.binary(max_size=6)
    | st.sampled_from([0, 1, 31, "RUN", "true", "1e999999999", "1" * 5000, Decimal("1e999999"), 10**1000])
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(TYPES), usable_keys, st.lists(raw_values, min_size=1, max_size=5), st.lists(st.text(max_size=8)))
def test_any_raw_value_is_a_value_of_the_models_type_or_none_and_any_wish_is_written_or_refused(
    type: str, keys: dict[str, Any], raws: list[Value], wishes: list[str]
) -> None:
    try:
        (point,) = plan(type, keys).points
    except DefinitionError:
        return  # a dead band of a STRING, bits of BYTES
    for raw in raws:
        try:
            text = point.text(raw)
        except BadAnswer:
            continue
        assert value_problem(text, type) is None
        assert point.dead_band is None or isinstance(point.dead_band.holds(text, text), bool)
    for wish in (*wishes, *TEXTS):
        with contextlib.suppress(ValueRefused):
            make_write(point, wish)
