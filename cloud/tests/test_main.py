"""cloudcore as a process: waits for Kubernetes, says when it is ready, stops at once, and may be killed at any instant."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from cloud.__main__ import main
from cloud.apiserver.tests.process import ServerProcess
from cloud.tests.cluster import Cluster
from cloud.tests.edge import edge
from cloud.tests.network import Proxy, free_port, until

STOP_S = 2.0
COMMAND = [sys.executable, "-m", "cloud"]


class CloudCoreProcess:
    """`python -m cloud cloudcore.yaml`."""

    def __init__(self, folder: Path, pki: Path, kubeconfig: Path, **settings: object) -> None:
        self.port = free_port()
        self.log = folder / "cloudcore.log"
        self.config = folder / "cloudcore.yaml"
        content = {
            "kubeconfig": str(kubeconfig),
            "host": "127.0.0.1",
            "port": self.port,
            "ca": str(pki / "ca.crt"),
            "certificate": str(pki / "server.crt"),
            "key": str(pki / "server.key"),
            **settings,
        }
        self.config.write_text(yaml.safe_dump(content))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([*COMMAND, str(self.config)], stderr=log, stdout=log)

    def said(self, text: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    async def ready(self) -> None:
        await until(lambda: self.said(f"ready port={self.port}"), "ready")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit status, and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(with_signal)
        try:
            return self._process.wait(10), time.monotonic() - began
        finally:
            self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@asynccontextmanager
async def running(folder: Path, pki: Path, kubeconfig: Path, **settings: object) -> AsyncIterator[CloudCoreProcess]:
    process = CloudCoreProcess(folder, pki, kubeconfig, **settings)
    process.start()
    try:
        yield process
    finally:
        process.kill()


async def test_it_waits_for_the_api_server_and_then_says_that_it_is_ready(pki: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", free_port())
    async with running(tmp_path, pki, server.kubeconfig) as cloudcore:
        await until(lambda: cloudcore.said("waiting for the api server"))
        await asyncio.to_thread(server.start)
        try:
            await cloudcore.ready()
            assert cloudcore.log.read_text().count("ready port") == 1
            async with edge(cloudcore.port, pki) as node:
                await until(lambda: node.delivered)
        finally:
            server.kill()


async def test_it_stops_within_two_seconds_whatever_hangs(pki: Path, tmp_path: Path, cluster: Cluster) -> None:
    async with (
        running(tmp_path, pki, cluster.kubeconfig) as cloudcore,
        Proxy(cloudcore.port) as proxy,
    ):
        await cloudcore.ready()
        async with edge(cloudcore.port, pki), edge(proxy.port, pki, "edge2"):
            proxy.freeze()
            status, seconds = await asyncio.to_thread(cloudcore.stop)
            assert (status, seconds < STOP_S) == (0, True), seconds
            assert "Traceback" not in cloudcore.log.read_text()
            await proxy.cut()


async def test_it_stops_while_it_waits_for_kubernetes(pki: Path, tmp_path: Path) -> None:
    async with running(tmp_path, pki, tmp_path / "missing") as cloudcore:
        await until(lambda: cloudcore.said("waiting for the api server"))
        status, seconds = await asyncio.to_thread(cloudcore.stop, signal.SIGINT)
        assert (status, seconds < STOP_S) == (0, True), seconds


async def test_killed_at_any_instant_it_loses_nothing_it_acknowledged(
    pki: Path, tmp_path: Path, cluster: Cluster
) -> None:
    await cluster.create_model()
    names = [f"d{n}" for n in range(10)]
    for name in names:
        await cluster.create_device(name)
    acknowledged: dict[str, int] = dict.fromkeys(names, 0)
    has: dict[str, str] = {}
    last = 0
    async with running(tmp_path, pki, cluster.kubeconfig, qps=500, burst=500) as cloudcore:
        for _ in range(4):
            await cloudcore.ready()
            async with edge(cloudcore.port, pki, has=has) as node:
                await until(lambda: len([key for key in has if f"{cluster.namespace}/device/" in key]) == len(names))
                sent: dict[str, tuple[str, int]] = {}
                for value in range(last + 1, last + 30):
                    sent |= {
                        node.report(f"{cluster.namespace}/{name}", value, temp=str(value)).id: (name, value)
                        for name in names
                    }
                    await asyncio.sleep(0)
                last += 30
                await asyncio.sleep(random.uniform(0, 0.1))  # the instant
                await asyncio.to_thread(cloudcore.kill)
                for name, at in (sent[id] for id in node.delivered & sent.keys()):
                    acknowledged[name] = max(acknowledged[name], at)
            for name in names:
                assert int(await cluster.reported(name) or 0) >= acknowledged[name]
            await asyncio.to_thread(cloudcore.start)
        await cloudcore.ready()
    assert any(acknowledged.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubeconfg: x", "unknown key `kubeconfg` in cloudcore.yaml: did you mean `kubeconfig`?"),
        ("port: many", "`port` in cloudcore.yaml: expected `int`, got `str`"),
        ("port: 70000", "port is not 0 to 65535"),
        ("qps: 0", "qps is not above 0"),
        ("burst: 0", "burst is not at least 1"),
        ("log_level: loud", "log_level is none of debug, info, warning, error"),
        ("[", "is not valid YAML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cloudcore.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(sys.stderr, "write", lines.append)
        assert main([str(tmp_path / "cloudcore.yaml")]) == 2
    [line] = lines
    assert said in line
    assert line.startswith("cloudcore: ")


def test_missing_certificates_end_it_with_a_line(tmp_path: Path) -> None:
    settings = {"ca": str(tmp_path / "ca.crt"), "kubeconfig": "x"}
    (tmp_path / "cloudcore.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run([*COMMAND, "--config", str(tmp_path / "cloudcore.yaml")], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b"cannot run: certificates" in done.stderr
    assert b"Traceback" not in done.stderr
