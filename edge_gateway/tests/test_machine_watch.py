"""A machine whose state changes tells the cloud; one whose state does not, does not."""

import asyncio
from pathlib import Path

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.machine_conditions import Conditions
from edge_gateway.machine_watch import MachineWatch
from edge_gateway.tests.test_machine import make
from edgewire import resource

MEMORY = "proc/meminfo"


async def test_only_what_changed_is_told(tmp_path: Path) -> None:
    make(tmp_path, {MEMORY: "MemAvailable: 1000000 kB"})
    core = EdgeCore("edge1", wanted=lambda topic: False, machine={})
    told: asyncio.Queue[Effects] = asyncio.Queue()
    watch = MachineWatch(core, told.put_nowait, {"cpus": 4}, Conditions(tmp_path, tmp_path), period_s=0.01)
    images: list[dict[str, object]] = [{"names": ["localhost/app:1"], "size_bytes": 17}]
    watch.images = lambda: images
    task = asyncio.create_task(watch.run(asyncio.Event()))
    try:
        async with asyncio.timeout(10):
            assert (await told.get()).dirty == [resource.NODE_STATUS]
            make(tmp_path, {MEMORY: "MemAvailable: 10 kB"})
            assert (await told.get()).dirty == [resource.NODE_STATUS]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert told.empty()
    message = core.message_for(resource.NODE_STATUS, 0)
    assert message is not None
    content = message.read(dict[str, object])
    assert content["cpus"] == 4
    assert content["images"] == images
    assert {c["type"]: c["status"] for c in content["conditions"]}["MemoryPressure"] == "True"  # type: ignore[attr-defined]
