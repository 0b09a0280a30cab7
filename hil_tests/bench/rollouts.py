"""Rollouts as tests and benchmarks ask for them: publish an image, make the DeviceFirmware `new`, wait for what becomes of it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from cloud.firmware_objects import DeviceFirmware
from hedgerow.firmware import Firmware

NAME = "new"
DEADLINE_S = 60.0


async def roll_out(firmware: Firmware, manifest: bytes, signature: bytes, stream: bytes, **spec: Any) -> None:
    """Publish an image and roll it out; `spec` are further keys of the DeviceFirmware's."""
    image, _ = await firmware.publish(manifest, signature, stream)
    head = {"apiVersion": "devices.hedgerow.dev/v1alpha1", "kind": "DeviceFirmware"}
    await firmware.apply({**head, "metadata": {"name": NAME}, "spec": {"image": msgspec.to_builtins(image), **spec}})


async def until(
    firmware: Firmware, what: str, condition: Callable[[DeviceFirmware], bool], deadline_s: float = DEADLINE_S
) -> DeviceFirmware:
    """Wait until the rollout, as it was last edited, fulfils a condition."""
    seen: DeviceFirmware | None = None
    try:
        async with asyncio.timeout(deadline_s), contextlib.aclosing(firmware.follow(NAME)) as changes:
            async for seen in changes:
                if seen.status.observed_generation == seen.metadata.generation and condition(seen):
                    return seen
    except TimeoutError as error:
        raise AssertionError(f"not within {deadline_s:.0f} s: {what}; {seen and seen.status}") from error
    raise AssertionError("the watch ended")


async def until_phase(firmware: Firmware, phase: str, deadline_s: float = DEADLINE_S) -> DeviceFirmware:
    """Wait until the rollout is in a phase: Complete, Aborted, …"""
    return await until(firmware, f"it is {phase}", lambda found: found.status.phase == phase, deadline_s)
