"""Several mappers in one process: each serves its protocol, and one that breaks is started again beside the others."""

import json
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewire import topics
from hil_tests.bench.plc import Plc
from hil_tests.test_modbus_mapper import FAST, Broken, MapperProcess, broker, hearing, plc, plc_manifests, until
from mappers.driver import DriverError, Value, VisitorKeys, Wanted

__all__ = ["broker", "plc"]  # fixtures


class Address(VisitorKeys, frozen=True):
    """Nothing to say of where."""


class Fragile:
    """A protocol whose mapper breaks when it is started, as often as the file `breaks` says; then every value is 7."""

    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = VisitorKeys

    @property
    def protocol(self) -> str:
        """`fragile`."""
        return "fragile"

    @property
    def aliases(self) -> tuple[str, ...]:
        """Asked for whenever a mapper is made, which is where this one breaks."""
        breaks = Path(os.environ["FRAGILE"])
        left = int(breaks.read_text())
        if left:
            breaks.write_text(str(left - 1))
            raise RuntimeError("a mistake")
        return ()

    def bus(self, address: Any) -> Hashable:
        """One for all."""
        return "nowhere"

    def visitor(self, address: Any, keys: Any, model: Any) -> str:
        """Any."""
        return "seven"

    def driver(self, bus: Any) -> "Seven":
        """A driver."""
        return Seven()


class Seven:
    """Every value is 7."""

    async def open(self) -> None:
        """Nothing to open."""

    async def read(self, visitors: Sequence[Any]) -> Sequence[Value | DriverError]:
        """7."""
        return [7] * len(visitors)

    async def write(self, visitor: Any, value: Wanted) -> None:
        """Nothing to write."""

    async def close(self) -> None:
        """Nothing to close."""


FRAGILE = [
    {
        "kind": "DeviceModel",
        "metadata": {"name": "seven-model"},
        "spec": {"properties": [{"name": "n", "type": "INT", "accessMode": "ReadOnly"}]},
    },
    {
        "kind": "Device",
        "metadata": {"name": "seven"},
        "spec": {
            "deviceModelRef": {"name": "seven-model"},
            "protocol": {"protocolName": "fragile"},
            "properties": [{"name": "n", "visitors": {"configData": {"scale": 2}}}],
        },
    },
]


async def test_a_mapper_that_breaks_starts_again_and_the_other_goes_on(
    tmp_path: Path, broker: Broken, plc: Plc, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = tmp_path / "breaks"
    breaks.write_text("2")
    monkeypatch.setenv("FRAGILE", str(breaks))
    process = MapperProcess(tmp_path, broker.port)
    mappers = [{"driver": "hil_tests.test_several_mappers:Fragile"}, {"protocol": "modbus"}]
    (tmp_path / "mapper.yaml").write_text(
        json.dumps({"mappers": mappers, "broker": {"port": broker.port}, "devices": FAST})
    )
    async with hearing(broker.port) as site:
        await process.start()
        try:
            await site.define(plc_manifests(plc))
            await until(lambda: site.value("boiler/temperature") == "18.0")
            model, seven = FRAGILE
            definition = {"device": seven, "model": model}
            await site._retain(topics.mapper_device("fragile", "default/seven"), definition)
            await site._retain(topics.mapper_index("fragile"), {"devices": ["default/seven"]})
            await until(lambda: site.value("seven/n") == "14")
            await plc.set("boiler/temperature", 21)
            await until(lambda: site.value("boiler/temperature") == "21.0")
            assert site.states.count(("boiler", "online")) == 1, "the other mapper was disturbed"
        finally:
            assert await process.stop() == 0
    assert [line.partition(" retry_s")[0][-40:] for line in process.log().splitlines() if "mapper failed" in line] == [
        f"= mapper failed protocol=fragile attempt={n}"[-40:] for n in (1, 2)
    ]
