"""Where a unit is: the keys of an address, the bus it is on, and what things cost there."""

from typing import Any

import pytest

from mappers.driver import DefinitionError, read_config
from mappers.modbus_address import Address, Line, Server, pace


def address(**keys: Any) -> Address:
    return read_config(keys, Address, "protocol")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "`ip` is missing"),
        ({"ip": "x", "port": 0}, "`port` must lie between 1 and 65535"),
        ({"ip": "x", "slaveID": 256}, "`slaveID` must lie between 0 and 255"),
        ({"ip": "x", "slaveID": "one"}, "`slaveID` in protocol: expected `int`, got `str`"),
        ({"ip": "x", "slaveId": 1}, "unknown key `slaveId` in protocol: did you mean `slaveID`?"),
        ({"ip": "x", "timeout": 0}, "`timeout` must lie between 10 and 60000"),
        ({"ip": "x", "maxRegisters": 126}, "`maxRegisters` must lie between 1 and 125"),
        ({"ip": "x", "serialPort": "/dev/ttyS0"}, "`ip` and `serialPort` are two ways to the unit: name one"),
        ({"ip": "x", "mode": "rtx"}, "`mode` 'rtx' is not known: did you mean rtu?"),
        ({"serialPort": "/dev/ttyS0", "mode": "tcp"}, "`mode` tcp needs `ip` instead of `serialPort`"),
        ({"serialPort": "/dev/ttyS0", "parity": "evn"}, "`parity` 'evn' is not known: did you mean even?"),
        ({"serialPort": "/dev/ttyS0", "stopBits": 3}, "`stopBits` must be 1 or 2"),
        ({"serialPort": "/dev/ttyS0", "dataBits": 7}, "`dataBits` 7 fits `mode: ascii` only"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 0}, "`baudRate` must lie between 50 and 4000000"),
        ({"serialPort": "socket://gateway:4001"}, "`serialPort` is no URL: a line behind a network has `ip`, `port`"),
        ({"com": {"serialPort": "/dev/ttyS0", "baud": 1}}, "unknown key `com.baud` in protocol"),
    ],
)
def test_a_mistake_in_an_address_names_its_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        address(**keys)
    assert message in str(caught.value)


def test_units_of_one_server_are_on_one_bus() -> None:
    one, two = (address(ip="plc", port="502", slaveID=n) for n in ("1", 2))
    assert (one.slave_id, two.slave_id) == (1, 2)
    assert one.bus == two.bus == Server("plc", 502)
    assert str(one.bus) == "plc:502"
    assert one.bus != address(ip="plc", mode="rtu").bus


@pytest.mark.parametrize(
    "keys",
    [
        {"serialPort": "/dev/ttyS0", "baudRate": "19200", "dataBits": 8, "parity": "even", "stopBits": 1},
        {"serialPort": "/dev/ttyS0", "baudRate": 19200, "parity": "E"},
        {"com": {"serialPort": "/dev/ttyS0", "baudRate": 19200, "dataBits": 8, "parity": "even", "stopBits": 1}},
        {"com": {"commType": "serial", "serialPort": "/dev/ttyS0", "baudRate": 19200, "parity": "Even"}},
    ],
)
def test_a_serial_line_is_named_in_the_ways_of_kubeedges_manifests(keys: dict[str, Any]) -> None:
    assert address(slaveID=7, **keys).bus == Line("/dev/ttyS0", 19200, 8, "E", 1)


def test_a_server_is_named_in_kubeedges_older_way() -> None:
    assert address(tcp={"ip": "plc", "port": 1502}).bus == Server("plc", 1502)
    assert address(tcp={"ip": "plc"}).bus == Server("plc", 502)


def test_the_mode_follows_from_what_is_named() -> None:
    assert address(serialPort="/dev/ttyS0").bus.mode == "rtu"
    assert address(serialPort="/dev/ttyS0", mode="ascii", dataBits=7).bus.mode == "ascii"
    assert address(ip="gateway", mode="rtu").bus == Server("gateway", 502, "rtu")


def test_unit_0_is_every_unit_of_a_line_and_the_server_itself_over_tcp() -> None:
    assert address(serialPort="/dev/ttyS0", slaveID=0).broadcast
    assert address(ip="gateway", mode="rtu", slaveID=0).broadcast
    assert not address(ip="plc", slaveID=0).broadcast


@pytest.mark.parametrize(
    ("baud", "turnaround_s", "gap"), [(9600, 0.005, 12), (115200, 0.002, 35), (9600, 0.1, 53), (1200, 0.005, 10)]
)
def test_the_gap_is_what_another_request_costs(baud: int, turnaround_s: float, gap: int) -> None:
    """An independent sum: a request of 8 bytes, 5 of the answer, two silences of 3.5 characters, and the unit's own time."""
    found = pace(address(serialPort="/dev/ttyS0", baudRate=baud, parity="even").bus)
    character_s = 11 / baud
    silence_s = 0.00175 if baud > 19200 else 3.5 * character_s
    request_s = 13 * character_s + 2 * silence_s + turnaround_s
    assert found.gap(turnaround_s) == int(request_s / (2 * character_s)) == gap


def test_a_network_costs_no_time_by_the_register() -> None:
    assert pace(Server("plc", 502)).gap(0.1) == 16
