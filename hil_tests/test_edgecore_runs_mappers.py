"""Mappers that edgecore runs itself: values arrive through a broker with users; the process comes and goes with the gateway."""

import asyncio
from pathlib import Path

import psutil
import yaml

from edge_gateway.broker.passwords import hash_password
from hedgerow.cluster import Cluster
from hedgerow.stack import Ports, Stack, until
from hil_tests.bench import demo
from hil_tests.bench.plc import Plc
from hil_tests.conftest import NODE
from hil_tests.test_modbus_mapper import FAST, plc

__all__ = ["plc"]  # a fixture

DEADLINE_S = 45.0


def site(folder: Path) -> Stack:
    """A gateway with two mappers, one by a file and one by its name, and a broker that lets a board in and no mapper."""
    ports = Ports.any()
    edge = folder / "edge"
    edge.mkdir()
    board = {"name": "board", "password": hash_password("secret"), "device": "default/board"}
    (edge / "users.yaml").write_text(yaml.safe_dump({"users": [board]}))
    (edge / "mapper.yaml").write_text(yaml.safe_dump({"protocol": "modbus", "devices": FAST}))
    broker = {"port": ports.mqtt, "users_file": "users.yaml"}
    return Stack(folder, node=NODE, ports=ports, edge={"broker": broker, "mappers": ["mapper.yaml", "serial"]})


def mappers(stack: Stack) -> list[psutil.Process]:
    """The processes of mappers that edgecore has."""
    assert stack.edgecore.pid is not None
    return [p for p in psutil.Process(stack.edgecore.pid).children() if p.cmdline()[1:3] == ["-m", "mappers"]]


def polls(stack: Stack, plc: Plc) -> bool:
    """Whether a mapper of edgecore has a connection to the PLC."""
    try:
        connections = [found for process in mappers(stack) for found in process.net_connections("tcp")]
    except psutil.Error:  # it comes up, or goes
        return False
    return any(found.raddr and found.raddr.port == plc.port for found in connections)


async def test_edgecore_runs_mappers_starts_them_again_and_takes_them_with_it(tmp_path: Path, plc: Plc) -> None:
    stack = site(tmp_path)
    try:
        await stack.start(mapper=False, deadline_s=DEADLINE_S)
        async with Cluster(stack.kubeconfig) as cluster:
            await until(cluster.serves_devices, stack.cloudcore.last_words, DEADLINE_S)
            await plc.set("boiler/temperature", 33.5)
            await cluster.apply(demo.plc_manifests(NODE, plc.port))
            await cluster.wait_reported("default/boiler", "temperature", "33.5", DEADLINE_S)
            [process] = mappers(stack)
            process.kill()
            await plc.set("boiler/temperature", 44)
            await cluster.wait_reported("default/boiler", "temperature", "44.0", DEADLINE_S)
            [again] = mappers(stack)
            assert again.pid != process.pid
            log = (tmp_path / "logs" / "edgecore.log").read_text()
            assert "mappers ended status=-9" in log
            assert "mappers.mqtt = broker connected" in log, "what the mappers say is in the gateway's log"
            await stack.edgecore.kill()
            await asyncio.to_thread(again.wait, DEADLINE_S)
        await stack.cloudcore.stop()
        await stack.apiserver.stop()
        await stack.edgecore.start()
        await until(lambda: polls(stack, plc), stack.edgecore.last_words, DEADLINE_S)  # the gateway knows its devices
    finally:
        await stack.stop()
