"""The table, as text in terminals of some widths."""

import io
import time

import msgspec
import pytest
from rich.console import Console, RenderableType

from edgewire.device import DeviceModel
from hedgerow import table
from hedgerow.cluster import DeviceView, NodeView


def _text(shown: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _model() -> DeviceModel:
    return msgspec.convert(
        {
            "metadata": {"name": "boiler-model", "namespace": "default"},
            "spec": {
                "properties": [
                    {"name": "temperature", "type": "FLOAT", "unit": "°C"},
                    {"name": "setpoint", "type": "FLOAT", "unit": "°C"},
                    {"name": "pump", "type": "BOOLEAN"},
                ]
            },
        },
        DeviceModel,
    )


def _boiler(age_s: float = 3, **status: object) -> DeviceView:
    at = {"timestamp": str(int((time.time() - age_s) * 1000))}
    return msgspec.convert(
        {
            "metadata": {"name": "boiler", "namespace": "default"},
            "spec": {
                "deviceModelRef": {"name": "boiler-model"},
                "nodeName": "edge-1",
                "properties": [{"name": "temperature"}, {"name": "setpoint", "desired": {"value": "71.5"}}],
            },
            "status": {
                "twins": [
                    {"propertyName": "temperature", "reported": {"value": "64.0", "metadata": at}},
                    {"propertyName": "setpoint", "reported": {"value": "60.0", "metadata": at}},
                ],
                "state": "online",
                **status,
            },
        },
        DeviceView,
    )


def test_what_a_device_reports_is_shown_and_not_obeyed() -> None:
    twins = [{"propertyName": "temperature", "reported": {"value": "[/bold]\x1b[2J\x9b"}}]
    [_, row, *_] = _text(table.devices([_boiler(twins=twins)], {}))
    assert r"[/bold]\x1b[2J\x9b" in row


def test_a_device_has_a_row_for_each_property_of_its_model() -> None:
    assert _text(table.devices([_boiler()], {"default/boiler-model": _model()})) == [
        "DEVICE          PROPERTY         REPORTED  DESIRED   AGE  STATE",
        "default/boiler  temperature       64.0 °C             3s  online",
        "                setpoint          60.0 °C     71.5    3s",
        "                pump                    -",
    ]


def test_without_its_model_it_has_those_of_its_own() -> None:
    assert [line.split()[:3] for line in _text(table.devices([_boiler()], {}))[1:]] == [
        ["default/boiler", "temperature", "64.0"],
        ["setpoint", "60.0", "71.5"],
    ]


@pytest.mark.parametrize(("age_s", "shown"), [(0, "0s"), (119, "119s"), (121, "2m"), (7100, "118m"), (7300, "2h")])
def test_ages_grow_coarser(age_s: float, shown: str) -> None:
    assert _text(table.devices([_boiler(age_s)], {}))[1].split()[-2] == shown


def test_a_device_without_a_state_says_why() -> None:
    refused = [{"type": "Accepted", "status": "False", "reason": "ModelNotFound"}]
    assert _text(table.devices([_boiler(state="", conditions=refused)], {}))[1].endswith("ModelNotFound")
    assert _text(table.devices([_boiler(state="")], {}))[1].endswith("no report yet")


def test_columns_stand_still_while_values_change() -> None:
    def header(value: str) -> str:
        twins = [{"propertyName": "temperature", "reported": {"value": value}}]
        return _text(table.devices([_boiler(twins=twins)], {"default/boiler-model": _model()}))[0]

    assert header("7") == header("1234.5678")


def test_a_long_complaint_takes_one_line() -> None:
    lines = _text(table.screen([], {}, {}, ["x" * 200], ["end"]))
    assert lines[-2:] == ["x" * 79 + "…", "end"]


def test_no_device_is_said_so() -> None:
    assert _text(table.devices([], {})) == ["No devices yet."]


def test_the_screen_tells_links_devices_complaints_and_hints() -> None:
    def node(name: str, ready: str) -> NodeView:
        conditions = [{"type": "Ready", "status": ready}]
        return msgspec.convert({"metadata": {"name": name}, "status": {"conditions": conditions}}, NodeView)

    nodes = {"edge-2": node("edge-2", "Unknown"), "edge-1": node("edge-1", "True")}
    lines = _text(table.screen([_boiler()], {}, nodes, ["12:00:00 process ended"], ["Ctrl-C stops everything."]))
    assert lines[0] == "gateways  edge-1 linked  edge-2 not linked"
    assert lines[-2:] == ["12:00:00 process ended", "Ctrl-C stops everything."]
    assert _text(table.screen([], {}, {}, [], []))[0] == "gateways  none yet"
