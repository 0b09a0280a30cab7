"""A number on its whole way, register to Kubernetes and back: cores of all three processes, and the bytes between them."""

from decimal import Decimal, localcontext
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import device_status
from edge_gateway.device_twin import DeviceTwin
from edgewire import board, device, topics, twin
from edgewire.message import Message
from mappers.mapped import MappedDevice, Report
from mappers.plan import Settings, make_plan
from mappers.tests.fakes import Toy
from mappers.values import FIXED, Codec

MS = 1_750_000_000_000
WIDTHS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (16, 32, 64)]


@st.composite
def registers(draw: st.DrawFn) -> tuple[str, int]:
    """A register type and what it holds; the ends of the range too."""
    type = draw(st.sampled_from(WIDTHS))
    bits = 16 * FIXED[type]
    low, high = (0, 2**bits - 1) if type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return type, draw(st.integers(low, high) | st.sampled_from([low, high, high - 1]))


def resources(type: str, keys: dict[str, Any], desired: str | None = None) -> tuple[device.Device, device.DeviceModel]:
    wanted = {} if desired is None else {"desired": {"value": desired}}
    properties = [{"name": "p", "visitors": {"configData": {"cell": 1, **keys}}, **wanted}]
    spec = {"deviceModelRef": {"name": "m"}, "properties": properties}
    encode = twin._encoder.encode
    return (
        device.parse_device(encode({"metadata": {"name": "a", "uid": "u"}, "spec": spec})),
        device.parse_model(encode({"metadata": {"name": "m"}, "spec": {"properties": [{"name": "p", "type": type}]}})),
    )


def mapped(type: str, keys: dict[str, Any]) -> MappedDevice:
    definition = device.parse_mapper_device(device.encode_mapper_device(device.MapperDevice(*resources(type, keys))))
    return MappedDevice("default/a", make_plan(definition, Toy(), Settings()), Settings(), 0)


def in_kubernetes(gateway: DeviceTwin, reported: str) -> str:
    """What `kubectl get device` shows after a mapper's report."""
    gateway.report("default/a", reported.encode(), MS)
    (key,) = (key for key in gateway.unseen.dirty_keys() if key.endswith("twin/edge_updated"))
    message = gateway.unseen.message_for(key, MS)
    assert message is not None
    content = Message.read(message, twin.UpdatedContent)
    old, new = device_status.DeviceStatus(), device_status.DeviceStatus()
    new.merge_twins(content.twin, MS)
    patch = device_status.difference(old, new)
    assert patch is not None
    entry = device_status.parse(patch).twins["p"].reported
    assert entry is not None
    return entry.value


@settings(deadline=None)
@given(
    registers(),
    st.decimals("0.000001", "1000", places=6),
    st.decimals("-1000000", "1000000", places=6),
    st.sampled_from(["FLOAT", "DOUBLE"]),
)
def test_a_scaled_integer_of_64_bits_is_exact_in_kubernetes_and_the_same_register_on_its_way_back(
    register: tuple[str, int], scale: Decimal, offset: Decimal, type: str
) -> None:
    width, raw = register
    assert_there_and_back(width, raw, type, scale, offset)


@settings(deadline=None)
@given(registers())
def test_an_unscaled_integer_is_exact_as_int_float_and_double(register: tuple[str, int]) -> None:
    for type in ("INT", "FLOAT", "DOUBLE"):
        assert_there_and_back(*register, type, Decimal(1), Decimal(0))


def assert_there_and_back(width: str, raw: int, type: str, scale: Decimal, offset: Decimal) -> None:
    keys = {"scale": str(scale), "valueOffset": str(offset)}
    here = mapped(type, keys)
    (*_, report) = here.answered(here.reads(0), [raw], 0, MS)
    assert isinstance(report, Report)
    gateway = DeviceTwin()
    gateway.device_changed(*resources(type, keys), MS - 1)
    shown = in_kubernetes(gateway, board.report(report.values))
    with localcontext(prec=60):  # by itself, Decimal rounds to 28 digits
        assert Decimal(shown) == raw * scale + offset

    codec = Codec(width, FIXED[width])
    other = 0 if raw else 1
    there = mapped(type, keys)
    there.answered(there.reads(0), [other], 0, MS)
    effects = gateway.device_changed(*resources(type, keys, desired=shown), MS)
    assert not effects.publishes, "the device holds it already"
    fresh = DeviceTwin()
    (delta,) = fresh.device_changed(*resources(type, keys, desired=shown), MS).publishes
    assert delta.topic == topics.of_device("default/a", topics.DELTA)
    there.wishes.want(board.delta(delta.payload))
    (write,) = there.writes(1)
    assert codec.decode(codec.encode(write.value)) == raw
