"""Board files: what is wrong is said with file, key and the nearest known name; what is right becomes a configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from device_fw.firmware import config as board_config
from device_fw.tools import board_file
from device_fw.tools.errors import FirmwareError

GOOD: dict[str, Any] = {
    "board": "unix",
    "name": "default/b1",
    "model": "model.yaml",
    "properties": {"warmth": {"driver": "simulated", "seed": 7, "interval_ms": 500, "dead_band": 0.2}},
}
WARMTH = {"name": "warmth", "type": "FLOAT", "accessMode": "ReadOnly", "unit": "°C"}


def write(folder: Path, changes: dict[str, Any] | None = None, *model: dict[str, str]) -> Path:
    """A board file and its model, changed."""
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **(changes or {})}))
    kind = {"kind": "DeviceModel", "metadata": {"name": "m"}, "spec": {"properties": list(model) or [WARMTH]}}
    (folder / "model.yaml").write_text(yaml.safe_dump_all([kind, {"kind": "Device"}]))
    return path


def with_keys(**keys: Any) -> dict[str, Any]:
    """The property with other keys; None takes one away."""
    merged = {**GOOD["properties"]["warmth"], **keys}
    return {"properties": {"warmth": {key: value for key, value in merged.items() if value is not None}}}


def test_a_right_file_becomes_a_configuration_and_properties_that_come_with_the_firmware(tmp_path: Path) -> None:
    loaded = board_file.load(write(tmp_path, {"config": {"heartbeat_ms": 5000}}))
    complete = board_config.check({**loaded.configuration(), "host": "gateway"})
    assert (complete["name"], complete["board"], complete["heartbeat_ms"]) == ("default/b1", "unix", 5000)
    assert complete["properties"] == {}
    own: dict[str, Any] = {}
    exec(loaded.own(), own)
    assert own["PROPERTIES"] == {
        "warmth": {
            "driver": "simulated",
            "reading": "value",
            "interval_ms": 500,
            "options": {"seed": 7},
            "type": "float",
            "digits": 3,
            "dead_band": 0.2,
        }
    }
    assert loaded.drivers == ["simulated"]


def test_without_a_model_the_drivers_say_the_types(tmp_path: Path) -> None:
    loaded = board_file.load(write(tmp_path, {"model": ""}))
    assert [(p.name, p.type, p.access_mode) for p in loaded.model.spec.properties] == [("warmth", "FLOAT", "ReadOnly")]


def test_two_texts_for_a_boolean_make_a_string_without_a_model_too(tmp_path: Path) -> None:
    lamp = {"driver": "digital_out", "pin": 3, "values": ["OFF", "ON"]}
    loaded = board_file.load(write(tmp_path, {"model": "", "properties": {"lamp": lamp}}))
    assert [(p.name, p.type) for p in loaded.model.spec.properties] == [("lamp", "STRING")]


def test_what_a_file_is_called_does_not_become_code(tmp_path: Path) -> None:
    path = write(tmp_path).rename(tmp_path / '""";STOLEN=1;""".yaml')
    own: dict[str, Any] = {}
    exec(board_file.load(path).own(), own)
    assert "STOLEN" not in own


def test_a_name_without_a_namespace_is_in_default(tmp_path: Path) -> None:
    assert board_file.load(write(tmp_path, {"name": "b1"})).device == "default/b1"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bord": 1}, "unknown key `bord` in board.yaml: did you mean `board`?"),
        ({"board": "unixx"}, "`board` in board.yaml: no board 'unixx'; did you mean 'unix'?"),
        ({"transport": "mqt"}, "`transport` in board.yaml: no transport 'mqt'; did you mean 'mqtt'?"),
        ({"name": "a/b/c"}, "`name` in board.yaml: key name: 'a/b/c' is not <namespace>/<name>"),
        ({"properties": 1}, "`properties` in board.yaml: expected `object`, got `int`"),
        ({"config": {"hearbeat_ms": 1}}, "no key 'hearbeat_ms'; did you mean 'heartbeat_ms'?"),
        ({"config": {"heartbeat_ms": "1"}}, "`config` in board.yaml: key heartbeat_ms: '1' is no int"),
        ({"config": {"name": "x"}}, "`config` in board.yaml: no key 'name'"),
        ({"properties": {"firmware-x": {}}}, "`properties.firmware-x` in board.yaml: the firmware itself reports"),
        ({"model": "none.yaml"}, "cannot read .*none.yaml: No such file"),
        ({"properties": {}}, "`properties` in board.yaml: model.yaml declares 'warmth', and no driver serves it"),
        (with_keys(driver=None), "`properties.warmth.driver` in board.yaml: is missing"),
        (with_keys(driver="simulate"), "`properties.warmth.driver` in board.yaml: no driver 'simulate'; did you mean"),
        (with_keys(sed=1), "`properties.warmth` in board.yaml: no key of driver simulated 'sed'; did you mean 'seed'?"),
        (with_keys(seed="x"), "`properties.warmth` in board.yaml: option seed: 'x' is no whole number from 0"),
        (with_keys(reading="valu"), "`properties.warmth.reading` in board.yaml: .*did you mean 'value'?"),
        (with_keys(interval_ms=0), "`properties.warmth.interval_ms` in board.yaml: 0 is no whole number from 1"),
        (with_keys(log="yes"), "`properties.warmth.log` in board.yaml: true or false"),
        (with_keys(dead_band="much"), "`properties.warmth.dead_band` in board.yaml: 'much' is no number"),
        (with_keys(digits=True), "`properties.warmth.digits` in board.yaml: True is no number"),
    ],
)
def test_what_is_wrong_is_named_with_the_key(tmp_path: Path, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(FirmwareError, match=error.replace("?", r"\?")):
        board_file.load(write(tmp_path, changes))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "warmt"}, "no property of model.yaml 'warmth'; did you mean 'warmt'?"),
        ({"type": "STRING"}, "value is FLOAT or DOUBLE or INT, not STRING as model.yaml says"),
        ({"type": "BYTES"}, "property 'warmth' in model.yaml: no board has values of type BYTES"),
        ({"accessMode": "ReadWrite"}, "value cannot be written; make it ReadOnly in model.yaml"),
    ],
)
def test_what_does_not_fit_the_model_is_named(tmp_path: Path, change: dict[str, str], error: str) -> None:
    with pytest.raises(FirmwareError, match=error.replace("?", r"\?")):
        board_file.load(write(tmp_path, None, {**WARMTH, **change}))


def test_a_file_that_is_no_yaml_is_told_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text("board: unix\nname: [\n")
    with pytest.raises(FirmwareError, match=r"board\.yaml is not valid YAML: .*\(line 3\)"):
        board_file.load(path)


def of(folder: Path, keys: dict[str, Any], model: dict[str, str], board: str = "unix") -> dict[str, Any]:
    """What the board is told of one property `x`."""
    path = write(folder, {"board": board, "properties": {"x": keys}}, {"name": "x", **model})
    return board_file.load(path).properties["x"].entry


def test_limits_and_access_are_the_models(tmp_path: Path) -> None:
    fan = {"driver": "pwm", "pin": 3, "reading": "percent"}
    entry = of(tmp_path, fan, {"type": "INT", "accessMode": "ReadWrite", "minimum": "10", "maximum": "90.5"})
    assert (entry["type"], entry["writable"], entry["minimum"], entry["maximum"]) == ("int", True, 10, 90.5)
    entry = of(tmp_path, fan, {"type": "DOUBLE", "accessMode": "ReadOnly", "minimum": "10"})
    assert (entry["type"], entry["digits"]) == ("float", 1)
    assert not {"writable", "minimum"} & set(entry)


def test_two_texts_may_stand_for_false_and_true(tmp_path: Path) -> None:
    lamp = {"driver": "digital_out", "pin": 3, "values": ["OFF", "ON"]}
    entry = of(tmp_path, lamp, {"type": "STRING"})
    assert (entry["type"], entry["values"]) == ("string", ["OFF", "ON"])


@pytest.mark.parametrize(
    ("keys", "model", "error"),
    [
        (
            {"driver": "bme280"},
            {},
            "`properties.x.reading` in board.yaml: no reading of bme280 'x'; known are humidity",
        ),
        ({"driver": "digital_in", "pin": 3}, {"type": "BOOLEAN"}, "no reading of digital_in 'x'"),
        ({"driver": "digital_out"}, {"type": "BOOLEAN"}, "`properties.x` in board.yaml: option pin is missing"),
        (
            {"driver": "digital_out", "pin": 99},
            {"type": "BOOLEAN"},
            "`properties.x` in board.yaml: the board has no pin 99",
        ),
        ({"driver": "digital_out", "pin": 1}, {"type": "STRING"}, "state is BOOLEAN, not STRING as model.yaml says"),
        ({"driver": "digital_out", "pin": 1, "values": ["ON"]}, {"type": "STRING"}, "`properties.x.values` in board"),
        (
            {"driver": "digital_out", "pin": 1, "values": ["A", "B"]},
            {"type": "BOOLEAN"},
            "state is STRING, not BOOLEAN",
        ),
        (
            {"driver": "chip"},
            {"type": "FLOAT", "accessMode": "ReadOnly", "unit": "K"},
            "temperature is in °C, not in K as",
        ),
        (
            {"driver": "pwm", "reading": "duty", "pin": 1},
            {"type": "INT", "minimum": "low", "accessMode": "ReadWrite"},
            "minimum of model.yaml` in",
        ),
        ({"driver": "adc", "reading": "volts", "pin": 26, "average": 0}, {}, "option average: 0 is not from 1 to 64"),
        ({"driver": "ds18b20", "pin": 6, "rom": "28ff"}, {}, "rom 28ff is not 16 hexadecimal digits"),
        ({"driver": "ds18b20", "pin": 6, "interval_ms": 500}, {}, "500 is no whole number from 1000"),
        ({"driver": "bme280", "reading": "humidity", "address": 0x75}, {}, "option address: 117 is none of 118, 119"),
    ],
)
def test_what_a_driver_cannot_is_said(tmp_path: Path, keys: dict[str, Any], model: dict[str, str], error: str) -> None:
    with pytest.raises(FirmwareError, match=error):
        of(tmp_path, keys, {"type": "FLOAT", "accessMode": "ReadWrite" if "ON" in str(keys) else "ReadOnly", **model})


def test_a_board_without_a_network_needs_the_serial_link(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match=r"`transport` in board\.yaml: board pico has no network; use serial"):
        board_file.load(write(tmp_path, {"board": "pico"}))
    assert board_file.load(write(tmp_path, {"board": "pico", "transport": "serial"})).transport == "serial"
