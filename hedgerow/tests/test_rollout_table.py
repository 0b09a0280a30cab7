import io
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from rich.console import Console

from cloud.firmware_objects import DeviceFirmware
from edgewire import ota
from edgewire.tests.firmware_image import firmware
from hedgerow import rollout_progress, rollout_table
from hedgerow.cluster import DeviceView

IMAGE = firmware().image


def a_rollout(name: str = "new", counter: int = 7, status: dict[str, Any] | None = None, **spec: Any) -> DeviceFirmware:
    image = msgspec.to_builtins(IMAGE) | {"counter": counter}
    content = {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {"image": image, "devices": {"model": "unix"}, **spec},
        "status": status or {},
    }
    return msgspec.convert(content, DeviceFirmware)


def a_device(name: str, node: str = "edge-1", **said: str) -> DeviceView:
    names = {f"firmware_{key}": value for key, value in said.items() if key != "version"}
    values = {key.replace("_", "-"): value for key, value in names.items()} | {"firmware": said.get("version", "1.3.0")}
    twins = [{"propertyName": key, "reported": {"value": value}} for key, value in values.items()]
    spec = {"nodeName": node, "deviceModelRef": {"name": "unix"}}
    return msgspec.convert({"metadata": {"name": name}, "spec": spec, "status": {"twins": twins}}, DeviceView)


def text_of(shown: Any) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=200)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_each_device_has_a_row_with_what_it_says_of_its_update() -> None:
    status = {"failures": [{"device": "d", "node": "edge-1", "reason": "timeout"}], "wave": 1}
    rollout = a_rollout(waves={"canary": {"names": ["a"]}}, status=status)
    working = {"target": IMAGE.target}
    devices = [
        a_device("a", version="1.4.0", state=ota.CONFIRMED, **working),
        a_device("b", state=ota.DOWNLOADING, progress="40", **working),
        a_device("c", state=ota.REVERTED, reason=ota.WATCHDOG, **working),
        a_device("d", state=ota.DOWNLOADING, progress="10", **working),
        a_device("e", node=""),
        a_device("f"),
    ]
    rows = {row.device: row for row in rollout_table.rows(rollout, [rollout], devices)}
    assert {name: (row.wave, row.phase, row.progress, row.reason) for name, row in rows.items()} == {
        "a": (1, "updated", "", ""),
        "b": (2, "downloading", "40 %", ""),
        "c": (2, "failed", "", "watchdog"),
        "d": (2, "failed", "", "timeout"),
        "e": (0, "skipped", "", "without a node"),
        "f": (2, "pending", "", ""),
    }
    shown = text_of(rollout_table.devices(list(rows.values())))
    assert shown[0] == ["DEVICE", "NODE", "WAVE", "PHASE", "PROGRESS", "VERSION", "REASON"]
    assert ["a", "edge-1", "1", "updated", "1.4.0"] in shown


def test_what_a_device_says_of_its_update_is_shown_and_not_obeyed() -> None:
    rollout = a_rollout()
    said = {"state": ota.REVERTED, "reason": "[/bold]\x1b[2J", "version": "[red]1[/green]"}
    rows = rollout_table.rows(rollout, [rollout], [a_device("a", target=IMAGE.target, **said)])
    assert text_of(rollout_table.devices(rows))[1] == [
        "a",
        "edge-1",
        "1",
        "failed",
        "[red]1[/green]",
        r"[/bold]\x1b[2J",
    ]
    condition = {"type": "Complete", "status": "False", "reason": "Updating", "message": "[/x]\x1b"}
    rollout = a_rollout(status={"conditions": [condition]})
    assert text_of(rollout_table.rollouts([rollout]))[1][-1] == r"[/x]\x1b"
    assert "\x1b" not in rollout_table.line(rollout)


def test_a_device_that_another_rollout_decides_about_is_shown_as_such() -> None:
    older, newer = a_rollout("older", 7), a_rollout("newer", 8, devices={"names": ["a"]})
    rows = rollout_table.rows(older, [older, newer], [a_device("a"), a_device("b")])
    assert [(row.device, row.phase, row.reason) for row in rows] == [
        ("b", "pending", ""),
        ("a", "skipped", "superseded by default/newer"),
    ]


def test_every_rollout_has_a_row_the_newest_last() -> None:
    status = {"phase": "Running", "waveProgress": "1/2", "progress": "1/3", "counts": {"failed": 1, "total": 3}}
    shown = text_of(rollout_table.rollouts([a_rollout("newer", 8), a_rollout("older", 7, status)]))
    assert shown[1][:7] == ["older", "1.4.0", "unix", "Running", "1/2", "1/3", "1"]
    assert shown[2][:4] == ["newer", "1.4.0", "unix", "Pending"]
    assert text_of(rollout_table.rollouts([])) == [["No", "rollouts", "yet."]]


@pytest.mark.parametrize("terminal", [True, False])
async def test_progress_is_shown_until_the_rollout_as_it_was_last_edited_has_ended(terminal: bool) -> None:
    condition = {"type": "Complete", "status": "False", "reason": "Updating", "message": "wave 1 at edge-1"}

    async def changes() -> AsyncGenerator[DeviceFirmware]:
        for generation, phase, progress in ((0, "Complete", "9/9"), (1, "Running", "1/3"), (1, "Complete", "3/3")):
            status = {"phase": phase, "observedGeneration": generation, "waveProgress": "1/1", "progress": progress}
            yield a_rollout(status={**status, "counts": {"total": 3, "updated": 1}, "conditions": [condition]})
        raise AssertionError("it had ended")

    output = io.StringIO()
    ended = await rollout_progress.show(changes(), Console(file=output, width=120, force_terminal=terminal))
    assert ended.status.progress == "3/3"
    assert "Running wave 1/1 updated 1/3 updated=1: wave 1 at edge-1" in output.getvalue()
