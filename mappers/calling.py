"""Carries out a called method: the properties it names are written, or the driver has a way of its own.

A method whose `propertyNames` are given in the Device sets some of these, as KubeEdge's does: its arguments are property ->
value, checked like desired values and all before the first is written; the result is what they hold afterwards. A method
without `propertyNames` is the driver's.
"""

from collections.abc import Sequence

from edgewire import methods
from edgewire.config import nearest
from edgewire.methods import Call
from edgewire.twin import BAD_REQUEST, NOT_FOUND

from . import values
from .calls import Answer
from .driver import BitWriter, BusDown, Caller, Driver, DriverError, MapperError, NoAnswer, Value, ValueRefused
from .mapped import MappedDevice
from .plan import Point
from .values import Scaling
from .wishes import Write, make_write


class _CallRefused(MapperError):
    """A call that is not carried out."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def carry_out(driver: Driver, device: MappedDevice, now: float, now_ms: int) -> tuple[list[Point], list[Answer]]:
    """Carry out the call that waits longest, if any: the points that were written, and what is to be answered now.

    With points, the call is answered by `answer`, after they were read back. Raises NoAnswer or BusDown, with the call refused in
    the device's `calls` by whoever takes that.
    """
    call, answers = device.calls.begin(now, now_ms)
    if call is None:
        return [], answers
    try:
        names = _names(call, device)
        if not names:
            found = await _own(driver, device, call)
            return [], [*answers, *device.calls.carried_out(found, now_ms)]
        writes = _writes(call, names, device)
        for write in writes:
            try:
                await make(driver, write)
            except ValueRefused as error:
                raise _CallRefused(BAD_REQUEST, f"{write.point.name}: {error}") from error
            device.readings.anew(write.point)
    except _CallRefused as error:
        return [], [*answers, *device.calls.refused(error.code, str(error), now_ms)]
    except (NoAnswer, BusDown):
        raise
    except DriverError as error:
        return [], [*answers, *device.calls.refused(methods.BAD_DEVICE, str(error), now_ms)]
    return [write.point for write in writes], answers


def answer(
    device: MappedDevice,
    written: Sequence[Point],
    read: Sequence[Point],
    results: Sequence[Value | DriverError],
    now_ms: int,
) -> list[Answer]:
    """The answer to the call that wrote these points, once they were read back."""
    found: dict[str, str] = {}
    for point, result in zip(read, results, strict=True):
        if point in written and not isinstance(result, DriverError):
            try:
                found[point.name] = point.text(result)
            except DriverError:
                continue  # its property says what is wrong with it
    return device.calls.carried_out(found, now_ms)


async def make(driver: Driver, write: Write) -> None:
    """Make a write. Raises what `Driver.write` does."""
    if not write.mask:
        await driver.write(write.point.visitor, write.value)
    elif isinstance(driver, BitWriter):
        await driver.write_bits(write.point.visitor, write.mask, int(write.value))
    else:
        raise ValueRefused("the protocol's driver cannot write some bits of a value only")


def _names(call: Call, device: MappedDevice) -> tuple[str, ...]:
    known = device.plan.methods
    if call.method not in known:
        near = nearest(call.method, list(known))
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known) or 'none'}"
        raise _CallRefused(NOT_FOUND, f"the device has no method {call.method[:80]!r}: {hint}")
    return known[call.method]


async def _own(driver: Driver, device: MappedDevice, call: Call) -> dict[str, str]:
    if not isinstance(driver, Caller):
        raise _CallRefused(
            methods.NO_METHODS,
            f"method {call.method!r} has no propertyNames, and the protocol's driver no methods of its own",
        )
    try:
        found = await driver.call(device.plan.address, call.method, call.arguments)
    except ValueRefused as error:
        raise _CallRefused(BAD_REQUEST, str(error)) from error
    return {name: values.text(value, "STRING", Scaling()) for name, value in found.items()}


def _writes(call: Call, names: Sequence[str], device: MappedDevice) -> list[Write]:
    if not call.arguments:
        raise _CallRefused(BAD_REQUEST, f"method {call.method!r} needs an argument: one of {', '.join(names)}")
    points = {point.name: point for point in device.plan.points}
    writes = []
    for name, value in call.arguments.items():
        if name not in names:
            near = nearest(name, list(names))
            hint = f"did you mean {near!r}?" if near else f"it takes {', '.join(names)}"
            raise _CallRefused(BAD_REQUEST, f"method {call.method!r} takes no {name[:80]!r}: {hint}")
        try:
            writes.append(make_write(points[name], value))
        except ValueRefused as error:
            raise _CallRefused(BAD_REQUEST, f"{name}: {error}") from error
    return writes
