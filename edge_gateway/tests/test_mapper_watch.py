"""The watch over devices nobody serves, on a real clock: what it finds is performed, and nothing else."""

import asyncio

import pytest

from edge_gateway import unserved
from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.mapper_watch import MapperWatch
from edge_gateway.tests.site import a_device, a_model
from edgewire import message, resource


def core() -> EdgeCore:
    """A node with a device that nobody serves."""
    made = EdgeCore("edge1", wanted=lambda topic: False, machine={})
    for type, thing in ((resource.DEVICE_MODEL, a_model()), (resource.DEVICE, a_device())):
        name = f"default/{type}/{thing.metadata.name}"
        made.from_cloud(message.build("insert", name, thing, source="test", resource_version="1"), message.now_ms())
    return made


async def test_what_nobody_serves_is_performed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unserved, "PATIENCE_MS", 5)
    performed: list[Effects] = []
    watch = MapperWatch(core(), performed.append, period_s=0.001)
    task = asyncio.create_task(watch.run(asyncio.Event()))
    try:
        async with asyncio.timeout(5):
            while not performed:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    (effects,) = performed
    assert [table for table, _, _ in effects.changes] == ["device"]
