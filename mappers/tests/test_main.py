"""The process: its configuration, and what it may not import."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from edgewire.config import ConfigError, load
from edgewire.device import Device, DeviceModel, MapperDevice, parse_device, parse_model
from mappers.__main__ import (
    DRIVERS,
    MapperConfig,
    OneMapper,
    configurations,
    from_environment,
    make_drivers,
    make_services,
)
from mappers.plan import Settings, make_plan


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mapper.yaml"
    path.write_text(text)
    return path


def test_without_a_file_it_serves_modbus_on_the_gateway_itself() -> None:
    config = load(None, MapperConfig)
    assert config.each == [OneMapper("modbus", devices=Settings())]
    assert (config.broker.host, config.broker.port) == ("127.0.0.1", 1883)
    assert config.devices == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protocol: modbsu", "mapper.yaml: no driver for protocol `modbsu`: did you mean `modbus`?"),
        (
            "protocol: knx",
            "mapper.yaml: no driver for protocol `knx`: known are " + ", ".join(f"`{p}`" for p in DRIVERS),
        ),
        (
            "mappers: [{protocol: modbsu}]",
            "`mappers[0]` in mapper.yaml: no driver for protocol `modbsu`: did you mean `modbus`?",
        ),
        ("mappers: [{}]", "`mappers[0]` in mapper.yaml: either `protocol` or `driver` must be given"),
        (
            "mappers: [{protocol: modbus}, {protocol: modbus}]",
            "mapper.yaml: `mappers` names one twice: one mapper serves all devices of a protocol",
        ),
        (
            "mappers: [{protocol: ble}, {protocol: bluetooth}]",
            "mapper.yaml: `mappers` names one twice: one mapper serves all devices of a protocol",
        ),
        (
            "{protocol: modbus, mappers: [{protocol: modbus}]}",
            "mapper.yaml: `protocol` is for one mapper, `mappers` for several: leave one of them out",
        ),
        ("devices: {attempts: 0}", "`devices` in mapper.yaml: cycles, `attempts` and `probe_limit_s` must be above 0"),
        ("broker: {port: 0}", "`broker` in mapper.yaml: `port` must lie between 1 and 65535"),
        ("broker: {prot: 1}", "unknown key `broker.prot` in mapper.yaml: did you mean `broker.port`?"),
        ("log_level: loud", "mapper.yaml: `log_level` must be debug, info, warning or error"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), MapperConfig)
    assert str(caught.value) == message


def test_several_mappers_have_the_files_settings_or_their_own(tmp_path: Path) -> None:
    text = "{mappers: [{protocol: modbus, devices: {attempts: 5}}], devices: {attempts: 3}}"
    assert load(written(tmp_path, text), MapperConfig).each == [OneMapper("modbus", devices=Settings(attempts=5))]
    text = "{mappers: [{protocol: modbus}], devices: {attempts: 3}}"
    assert load(written(tmp_path, text), MapperConfig).each == [OneMapper("modbus", devices=Settings(attempts=3))]


def test_a_driver_of_ones_own_is_named_by_its_class(tmp_path: Path) -> None:
    text = "mappers: [{driver: mappers.tests.fakes:Toy}, {protocol: modbus}]"
    made = make_services(load(written(tmp_path, text), MapperConfig))
    assert [one.name for one in made] == ["pusher", "mapper toy", "mapper modbus"]


@pytest.mark.parametrize("driver", ["no_such_module:Toy", "mappers.tests.fakes:Nothing", "mappers.tests.fakes:"])
def test_a_driver_that_is_not_there_is_said_and_the_process_ends(tmp_path: Path, driver: str) -> None:
    path = written(tmp_path, f"mappers: [{{driver: '{driver}'}}]")
    command = [sys.executable, "-m", "mappers", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert found.stderr.startswith("mapper: a driver cannot be imported")


@pytest.mark.parametrize("page", ["docs/mappers.md"])
def test_the_configuration_and_the_meter_in_the_manual_are_taken(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    settings, several, meter = text.split("```yaml\n")[1:4]
    load(written(tmp_path, settings.split("```")[0]), MapperConfig)
    assert len(load(written(tmp_path, several.split("```")[0]), MapperConfig).each) == 3
    model, device = (_resource(manifest) for manifest in yaml.safe_load_all(meter.split("```")[0]))
    assert isinstance(model, DeviceModel)
    assert isinstance(device, Device)
    plan = make_plan(MapperDevice(device, model), make_drivers("modbus"), Settings())
    assert [str(p.visitor) for p in plan.points] == ["InputRegister 12", "InputRegister 52..53", "HoldingRegister 99"]


def test_a_drivers_own_settings_reach_it(tmp_path: Path) -> None:
    (one,) = load(written(tmp_path, "{protocol: ble, options: {connections: 3}}"), MapperConfig).each
    assert vars(make_drivers(one.name, one.options))["_settings"].connections == 3
    (one,) = load(written(tmp_path, "mappers: [{protocol: ble, options: {connections: 2}}]"), MapperConfig).each
    assert vars(make_drivers(one.name, one.options))["_settings"].connections == 2


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("ble", {"conections": 3}, "unknown key `conections` in `options` of ble: did you mean `connections`?"),
        ("ble", {"connections": 0}, "`connections` must lie between 1 and 100"),
        ("modbus", {"connections": 3}, "`options`: the driver modbus has none"),
    ],
)
def test_settings_that_a_driver_does_not_have_are_refused(protocol: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        make_drivers(protocol, options)


def test_the_device_in_the_bluetooth_drivers_docstring_is_taken() -> None:
    drivers = make_drivers("ble")
    text = sys.modules["mappers.ble"].__doc__
    assert text is not None
    (manifest,) = (part for part in text.split("\n\n") if "kind: Device" in part)
    device = _resource(yaml.safe_load(manifest))
    assert isinstance(device, Device)
    properties = b", ".join(
        b'{"name": "%s", "type": "FLOAT"}' % name for name in (b"temperature", b"interval", b"humidity")
    )
    model = parse_model(b'{"metadata": {"name": "m"}, "spec": {"properties": [%s]}}' % properties)
    plan = make_plan(MapperDevice(device, model), drivers, Settings())
    assert [p.pushed for p in plan.points] == [True, False, True]


def test_the_device_in_the_drivers_docstring_is_taken() -> None:
    drivers = make_drivers("modbus")
    text = sys.modules["mappers.modbus"].__doc__
    assert text is not None
    (manifest,) = (part for part in text.split("\n\n") if "kind: Device" in part)
    device = _resource(yaml.safe_load(manifest))
    assert isinstance(device, Device)
    model = parse_model(
        b'{"metadata": {"name": "m"}, "spec": {"properties": [{"name": "temperature", "type": "FLOAT"}]}}'
    )
    plan = make_plan(MapperDevice(device, model), drivers, Settings())
    assert str(plan.points[0].visitor) == "HoldingRegister 100"


@pytest.mark.parametrize(
    ("imported", "forbidden"),
    [
        ("mappers.__main__", "pymodbus bleak serial yaml websockets sqlite3 kubernetes aiohttp cryptography"),
        ("mappers.ble", "bleak bumble pymodbus serial yaml websockets sqlite3 kubernetes aiohttp cryptography"),
        ("mappers.modbus", "bleak bumble websockets sqlite3 kubernetes aiohttp cryptography"),
        ("mappers.serial_line", "serial pymodbus bleak bumble websockets sqlite3 kubernetes aiohttp cryptography"),
    ],
)
def test_no_process_imports_what_it_does_not_need(imported: str, forbidden: str) -> None:
    code = f"import sys, {imported}; print(*[m for m in {forbidden.split()!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == ""


def _resource(manifest: dict[str, object]) -> Device | DeviceModel:
    content = msgspec.json.encode(manifest)
    return parse_device(content) if manifest["kind"] == "Device" else parse_model(content)


def test_the_environment_says_where_the_broker_is_and_who_the_mapper_is_to_it(tmp_path: Path) -> None:
    file = written(tmp_path, "broker: {host: 10.0.0.1, user: somebody, keepalive_s: 5}")
    said = {"HEDGEROW_BROKER_PORT": "1884", "HEDGEROW_BROKER_USER": "mapper", "HEDGEROW_BROKER_PASSWORD": "a b"}
    broker = load(file, MapperConfig, from_environment({**said, "HEDGEROW_BROKER_HOST": "", "PATH": "/bin"})).broker
    assert (broker.host, broker.port, broker.user, broker.password) == ("10.0.0.1", 1884, "mapper", "a b")
    assert broker.keepalive_s == 5


def test_a_port_in_the_environment_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="HEDGEROW_BROKER_PORT is 'many', not a number"):
        from_environment({"HEDGEROW_BROKER_PORT": "many"})


def test_a_mapper_may_have_a_name_among_those_of_its_protocol(tmp_path: Path) -> None:
    assert from_environment({"HEDGEROW_MAPPER_INSTANCE": "roof"}) == {"instance": "roof"}
    file = written(tmp_path, "{protocol: modbus, instance: roof}")
    named, unnamed = configurations([str(file), "modbus"], {})
    assert (named.instance, unnamed.instance) == ("roof", "")
    with pytest.raises(ConfigError, match="`instance` 'no/such' is not of up to 63 letters"):
        load(file, MapperConfig, {"instance": "no/such"})


def test_protocols_and_files_run_in_one_process(tmp_path: Path) -> None:
    file = written(tmp_path, "{protocol: serial, devices: {attempts: 3}}")
    overrides = {"broker.port": 1884, "metrics.port": None}
    of_file, of_protocols = configurations(["modbus", str(file), "ble"], overrides)
    assert of_file.each == [OneMapper("serial", devices=Settings(attempts=3))]
    assert [one.protocol for one in of_protocols.each] == ["modbus", "ble"]
    assert of_file.broker.port == of_protocols.broker.port == 1884
    assert [one.each for one in configurations([], {})] == [[OneMapper("modbus", devices=Settings())]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["modbsu"], "no driver for protocol `modbsu`: did you mean `modbus`?"),
        (["modbus", "serial.yaml"], "a protocol is named twice: one mapper serves all devices of a protocol"),
        (["ble", "bluetooth"], "the options: `mappers` names one twice: one mapper serves all devices of a protocol"),
        (["no/such.yaml"], "cannot read no/such.yaml: No such file or directory"),
    ],
)
def test_what_cannot_run_together_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serial.yaml").write_text("protocol: modbus")
    with pytest.raises(ConfigError) as caught:
        configurations(names, {})
    assert str(caught.value) == message


def test_it_ends_with_its_standard_input_when_asked_to() -> None:
    command = [sys.executable, "-m", "mappers", "modbus", "--stop-with-stdin"]
    environment = {**os.environ, "HEDGEROW_BROKER_PORT": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(b"read and left aside")
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()
