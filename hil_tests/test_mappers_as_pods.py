"""A mapper as a pod, from `kubectl apply` of its manifest to values of the emulated PLC in Kubernetes, and a desired one back.

The broker has users, and the mapper's password comes from a Secret.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_gateway.broker.passwords import hash_password
from hedgerow.stack import Ports, Stack
from hil_tests.bench import demo
from hil_tests.bench.plc import Plc
from hil_tests.conftest import NODE, missing
from hil_tests.test_mapper_manifests import FOLDER, manifest
from hil_tests.test_modbus_mapper import plc
from hil_tests.test_pods import Gateway

__all__ = ["plc"]  # a fixture

SOURCES = Path(__file__).parents[1]
PASSWORD = "correct horse"
TEMPERATURE = "jsonpath={.status.twins[?(@.propertyName=='temperature')].reported.value}"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """The stack without a mapper of its own; its broker lets in the user `mapper`."""
    if shutil.which("kubectl") is None:
        missing("kubectl is not installed")
    users = [{"name": "mapper", "password": hash_password(PASSWORD), "role": "mapper"}]
    (tmp_path / "users.yaml").write_text(yaml.safe_dump({"users": users}))
    ports = Ports.any()
    broker = {"port": ports.mqtt, "users_file": str(tmp_path / "users.yaml")}
    gateway = Gateway(tmp_path)
    gateway.stack = Stack(tmp_path, node=NODE, ports=ports, edge={"broker": broker})
    try:
        await gateway.stack.start(mapper=False)
        await gateway.until(lambda: knows_devices(gateway), "the API has Devices and the node")
        yield gateway
    finally:
        await gateway.stack.stop()
        gateway.power_cut()


async def knows_devices(gateway: Gateway) -> bool:
    """Whether Devices can be applied, and the node takes pods."""
    found = await gateway.kubectl("get", "devices,devicemodels", ok=False)
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return "error" not in found and await gateway.kubectl("get", "node", NODE, "-o", ready, ok=False) == "True"


def of_this_stack(pod: dict[str, Any], mqtt: int, metrics: int) -> dict[str, Any]:
    """The pod on the ports of this test, and with the mapper of this checkout; the rest is as written."""
    (container,) = pod["spec"]["containers"]
    env = [variable for variable in container["env"] if variable["name"] != "HEDGEROW_BROKER_PORT"]
    container["env"] = [
        *env,
        {"name": "HEDGEROW_BROKER_PORT", "value": str(mqtt)},
        {"name": "PYTHONPATH", "value": str(SOURCES)},
    ]
    container["command"][-1] = str(metrics)
    container["ports"][0].update(containerPort=metrics, hostPort=metrics)
    return pod


async def test_a_mapper_is_applied_as_a_pod_and_values_arrive(gateway: Gateway, plc: Plc) -> None:
    ports = gateway.stack.ports
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mapper-broker"},
        "stringData": {"user": "mapper", "password": PASSWORD},
    }
    await plc.set("boiler/temperature", 33.5)
    await gateway.apply(*demo.plc_manifests(NODE, plc.port))
    await gateway.apply(
        of_this_stack(manifest(FOLDER / "pods" / "modbus.yaml"), ports.mqtt, Ports.any().kubelet), secret
    )
    await gateway.wait_ready("mapper-modbus")

    async def temperature() -> bool:
        return await gateway.kubectl("get", "device", "boiler", "-o", TEMPERATURE) == "33.5"

    await gateway.until(temperature, "what the PLC holds is in Kubernetes")
    wish = '[{"op": "add", "path": "/spec/properties/4/desired", "value": {"value": "71.5"}}]'
    await gateway.kubectl("patch", "device", "boiler", "--type=json", "-p", wish)

    async def written() -> bool:
        return await plc.get("boiler/setpoint") == 71.5

    await gateway.until(written, "the PLC has the desired setpoint")
    await gateway.kubectl("delete", "pod", "mapper-modbus", "--timeout=40s")
    await gateway.until(lambda: gateway.containers() == 0, "the mapper ended with its pod")
