"""DeviceModel and Device of a board file: what the gateway reads in them, and what the firmware reports, are the same."""

import json
from pathlib import Path

import pytest
import yaml

from device_fw.tests.conftest import ROOT
from device_fw.tools import board_file, manifests
from device_fw.tools.board_file import BoardFile
from edgewire import device, ota

GREENHOUSE = ROOT / "examples/greenhouse/board.yaml"


def without_model(folder: Path, **changes: object) -> BoardFile:
    """The example with no DeviceModel of its own."""
    content = yaml.safe_load(GREENHOUSE.read_text())
    del content["model"]
    (folder / "board.yaml").write_text(yaml.safe_dump({**content, **changes}))
    return board_file.load(folder / "board.yaml")


def read(made: list[dict[str, object]]) -> tuple[device.DeviceModel, device.Device]:
    """Both, as the gateway reads them."""
    model, one = (json.dumps(manifest).encode() for manifest in made)
    return device.parse_model(model), device.parse_device(one)


def test_the_gateway_takes_what_is_made_of_the_drivers(tmp_path: Path) -> None:
    described = without_model(tmp_path)
    model, one = read(manifests.of(described, "edge-1"))
    assert device.problems(one, model) == []
    assert (one.id, one.spec.node_name, one.model_id) == ("default/greenhouse", "edge-1", model.id)
    assert [p.name for p in model.spec.properties] == [*described.properties, *ota.PROPERTIES]
    found = {p.name: (p.type, p.access_mode, p.unit) for p in model.spec.properties}
    assert found["air"] == ("FLOAT", "ReadOnly", "°C")
    assert found["door"] == ("BOOLEAN", "ReadOnly", "")
    assert found["pump"] == ("BOOLEAN", "ReadWrite", "")
    assert found["firmware-progress"] == ("INT", "ReadOnly", "")
    assert found["firmware-state"] == ("STRING", "ReadOnly", "")


def test_type_and_access_are_said_also_where_they_are_the_default(tmp_path: Path) -> None:
    model, _ = manifests.of(without_model(tmp_path), "edge-1")
    for written in model["spec"]["properties"]:
        assert {"name", "type", "accessMode"} <= written.keys()


def test_the_users_model_stays_as_it_is_and_gets_what_it_lacks(tmp_path: Path) -> None:
    described = board_file.load(GREENHOUSE)
    user = described.model
    model, _ = read(manifests.of(described, "edge-1"))
    assert (model.id, model.spec) == (user.id, user.spec)  # the example has the firmware's properties
    text = (GREENHOUSE.parent / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text("\n".join(line for line in text.splitlines() if "firmware" not in line))
    (tmp_path / "board.yaml").write_text(GREENHOUSE.read_text())
    model, _ = read(manifests.of(board_file.load(tmp_path / "board.yaml"), "edge-1"))
    assert [p.name for p in model.spec.properties] == [p.name for p in user.spec.properties]


@pytest.mark.parametrize("updates", [True, False])
def test_what_updates_report_is_in_both_or_in_none(tmp_path: Path, updates: bool) -> None:
    model, one = read(manifests.of(without_model(tmp_path), "edge-1", updates=updates))
    assert [p.name for p in one.spec.properties] == [p.name for p in model.spec.properties]
    assert (set(ota.PROPERTIES) <= {p.name for p in one.spec.properties}) is updates


def test_a_board_without_a_network_is_on_the_serial_mapper(tmp_path: Path) -> None:
    described = without_model(tmp_path, board="pico", transport="serial")
    _, one = read(manifests.of(described, "edge-1", port="/dev/ttyACM0"))
    assert one.spec.protocol.protocol_name == "serial"
    assert one.spec.protocol.config_data == {"port": "/dev/ttyACM0", "framing": "board"}
