"""Mappers as pods and as a DaemonSet, from `kubectl apply` of the manifest to values of the emulated PLC, and a desired one back.

The broker has users, and the mapper's password comes from a Secret.
"""

import json
import shutil
import sys
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
from hil_tests.test_mapper_manifests import FOLDER, manifest, spec_of
from hil_tests.test_modbus_mapper import plc
from hil_tests.test_pods import Gateway

__all__ = ["plc"]  # a fixture

pytestmark = pytest.mark.timeout(240)

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


def a_secret() -> dict[str, Any]:
    """The broker's user for mappers."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mapper-broker"},
        "stringData": {"user": "mapper", "password": PASSWORD},
    }


def of_this_stack(document: dict[str, Any], mqtt: int, metrics: int) -> dict[str, Any]:
    """The pod or DaemonSet on the ports of this test, and with the mapper of this checkout; the rest is as written."""
    spec = spec_of(document)
    (container,) = spec["containers"]
    env = [variable for variable in container["env"] if variable["name"] != "HEDGEROW_BROKER_PORT"]
    container["env"] = [
        *env,
        {"name": "HEDGEROW_BROKER_PORT", "value": str(mqtt)},
        {"name": "PYTHONPATH", "value": str(SOURCES)},
    ]
    container["command"][-1] = str(metrics)
    container["ports"][0].update(containerPort=metrics, hostPort=metrics)
    return document


async def test_two_mappers_of_one_protocol_serve_a_gateway_side_by_side(gateway: Gateway, plc: Plc) -> None:
    ports, secret = gateway.stack.ports, a_secret()
    manifests = demo.plc_manifests(NODE, plc.port)
    boiler = next(each for each in manifests if each["metadata"]["name"] == "boiler")
    roof = json.loads(json.dumps(boiler).replace('"protocolName": "modbus"', '"protocolName": "modbus@roof"'))
    roof["metadata"]["name"] = "boiler-roof"
    pods = [of_this_stack(manifest(FOLDER / "pods" / "modbus.yaml"), ports.mqtt, Ports.any().kubelet) for _ in "ab"]
    pods[1]["metadata"]["name"] = "mapper-modbus-roof"
    pods[1]["spec"]["containers"][0]["env"].append({"name": "HEDGEROW_MAPPER_INSTANCE", "value": "roof"})
    await plc.set("boiler/temperature", 41.5)
    await gateway.apply(*manifests, roof, secret, *pods)

    async def temperatures() -> bool:
        found = [await gateway.kubectl("get", "device", name, "-o", TEMPERATURE) for name in ("boiler", "boiler-roof")]
        return found == ["41.5", "41.5"]

    await gateway.until(temperatures, "each mapper reads its own device")


async def test_a_mapper_is_applied_as_a_pod_and_values_arrive(gateway: Gateway, plc: Plc) -> None:
    ports = gateway.stack.ports
    secret = a_secret()
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


async def test_the_daemon_set_brings_its_mapper_to_the_gateway_and_values_arrive(gateway: Gateway, plc: Plc) -> None:
    ports, document = gateway.stack.ports, manifest(FOLDER / "modbus.yaml")
    of_this_stack(document, ports.mqtt, Ports.any().kubelet)
    namespace = document["metadata"]["namespace"]
    if not others_may_run(sys.executable):
        del spec_of(document)["securityContext"]  # user 10000 has no way to this test's Python
    secret = a_secret()
    secret["metadata"]["namespace"] = namespace
    await plc.set("boiler/temperature", 27.5)
    await gateway.kubectl("create", "namespace", namespace)
    await gateway.apply(*demo.plc_manifests(NODE, plc.port), secret, document)

    async def temperature() -> bool:
        return await gateway.kubectl("get", "device", "boiler", "-o", TEMPERATURE) == "27.5"

    await gateway.until(temperature, "what the PLC holds is in Kubernetes")
    status = "jsonpath={.status.numberReady}/{.status.desiredNumberScheduled}"

    async def ready() -> bool:
        return await gateway.kubectl("get", "daemonset", "mapper-modbus", "-n", namespace, "-o", status) == "1/1"

    await gateway.until(ready, "the DaemonSet says that its pod is ready")
    await gateway.kubectl("delete", "daemonset", "mapper-modbus", "-n", namespace, "--timeout=60s")
    await gateway.until(lambda: gateway.containers() == 0, "the mapper ended with its DaemonSet")


def others_may_run(program: str) -> bool:
    """Whether any user of the machine may."""
    whole = Path(program).resolve()
    folders = [SOURCES, *SOURCES.parents, *Path(program).parents, *whole.parents]
    return all(folder.stat().st_mode & 0o001 for folder in folders)
