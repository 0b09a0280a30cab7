"""The examples of docs/serial.md and of the driver's docstring are taken as they are."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from edgewire.device import MapperDevice, parse_device, parse_model
from mappers import serial_line
from mappers.__main__ import make_drivers
from mappers.plan import Plan, Settings, make_plan
from mappers.serial_framing import FRAMERS
from mappers.serial_nmea import FIELDS
from mappers.serial_parsing import Frame
from mappers.serial_visitors import Address, VisitorConfig

PAGE = (Path(__file__).parents[2] / "docs" / "serial.md").read_text()


def plans() -> dict[str, Plan]:
    """The devices of the page, by name."""
    examples = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]
    assert len(examples) == 3
    models, found = {}, {}
    for manifest in (m for example in examples for m in yaml.safe_load_all(example)):
        content = msgspec.json.encode(manifest)
        if manifest["kind"] == "DeviceModel":
            models[manifest["metadata"]["name"]] = parse_model(content)
        else:
            device = parse_device(content)
            model = models[device.spec.device_model_ref.name]
            found[device.metadata.name] = make_plan(MapperDevice(device, model), make_drivers("serial"), Settings())
    return found


def test_the_devices_of_the_manual_take_what_they_are_sent() -> None:
    found = {f"{device}/{p.name}": p for device, plan in plans().items() for p in plan.points}
    said = {
        "scale/weight": (b"ST,GS,+  12.34kg", "12.34"),
        "scale/stable": (b"US,GS,+  12.34kg", "false"),
        "scale/serial-number": (b"ID,WS-4711", "WS-4711"),
        "receiver/latitude": (b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47", "48.117300000"),
        "probe/temperature": (b"\x01\xd7\x00", "21.5"),
        "probe/setpoint": (b"\x02\xd7\x00", "21.5"),
    }
    for name, (frame, text) in said.items():
        assert found[name].text(found[name].visitor.take(Frame(frame))) == text, name
    assert found["pico/led"].visitor.take("ON") == "ON"
    assert found["probe/temperature"].visitor.ask == b"\xaa\x55\x03\x01\x7e\x80"
    assert found["scale/tare"].visitor.command(msgspec.json.decode("5")) == b"T\r\n"


def test_the_device_in_the_drivers_docstring_is_taken() -> None:
    assert serial_line.__doc__ is not None
    (manifest,) = (part for part in serial_line.__doc__.split("\n\n") if "kind: Device" in part)
    device = parse_device(msgspec.json.encode(yaml.safe_load(manifest)))
    properties = [
        {"name": n, "type": t} for n, t in (("weight", "FLOAT"), ("serial-number", "STRING"), ("tare", "INT"))
    ]
    model = parse_model(msgspec.json.encode({"metadata": {"name": "m"}, "spec": {"properties": properties}}))
    plan = make_plan(MapperDevice(device, model), make_drivers("serial"), Settings())
    assert [p.pushed for p in plan.points] == [True, False, True]
    assert plan.silence_s == 5


def test_every_key_stands_in_the_manual() -> None:
    own: dict[str, Any] = {f.encode_name: f for type in (Address, VisitorConfig) for f in msgspec.structs.fields(type)}
    framework = {"scale", "valueOffset", "enum", "bits", "deadband"}
    missing = [name for name in [*own, *FRAMERS] if name not in framework and f"`{name}" not in PAGE]
    assert missing == []
    assert {"GGA", "RMC"} <= set(FIELDS)
