"""The embedded Kubernetes API's figures: Devices applied in a stream, status patches, watches held, memory.

The Devices are the demo's boiler: five Modbus properties and, in the status, a reported value of each.
"""

import asyncio
import base64
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from bench.results import Figure, Figures
from bench.timed_apiserver import HEADER
from cloud.apiserver.tests.conftest import MANIFESTS
from hil_tests.bench import demo

APPLIED = 2_000
WATCHES = 2_000
OBJECTS = 10_000
PATCHES = 1_000
ROUNDS = 10
"""Patches of which each reaches every watch."""
CONNECTIONS_AT_ONCE = 20
DEADLINE_S = 60.0

DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"Content-Type": "application/merge-patch+json"}


async def measure() -> Figures:
    """Every figure of the embedded API. Takes about two minutes."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        data = Path(folder) / "data"
        async with _server(data) as server:
            began = server.resident_mb()
            for path in sorted(MANIFESTS.glob("devices.kubeedge.io_*.yaml")):
                await server.call("POST", DEFINITIONS, yaml.safe_load(path.read_text()))
            found |= await _applied(server)
            found |= await _patched(server)
            found |= await _watched(server)
        async with _server(data) as server:
            await _filled(server)
            filled = server.resident_mb()
            size = len(await server.call("GET", f"{DEVICES}/{_name(0)}"))
        async with _server(data) as server:
            parts = {"at the start, empty": began, f"{OBJECTS} objects": server.resident_mb() - began}
            reference: dict[str, float | str] = {"aim, at most": 100, "with them written in this process": filled}
            note = f"Devices of {size / 1000:.1f} kB, as the demo's boiler, read at the start"
            found["apiserver_10000_objects_rss_mb"] = Figure(sum(parts.values()), "MB", reference, note, parts)
    return found


class _Server:
    """A running server, and one connection to it."""

    def __init__(self, url: str, process: psutil.Process, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        self.url = url
        self.tls = tls
        self._process = process
        self._session = session
        self.took_ms = 0.0
        """How long the server says the last answer took it."""

    async def call(self, method: str, path: str, body: Any = None, missing: bool = False) -> bytes:
        """One request and its answer. Raises RuntimeError for a no, but for 404 where that is expected."""
        headers = MERGE if method == "PATCH" else {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        async with self._session.request(method, self.url + path, data=content, headers=headers) as response:
            answer = await response.read()
            if response.status >= 400 and not (missing and response.status == 404):
                raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
            self.took_ms = float(response.headers[HEADER].rpartition("=")[2])
            return answer

    @property
    def authorization(self) -> str:
        """The header that lets one in."""
        return self._session.headers["Authorization"]

    def resident_mb(self) -> float:
        """Resident memory of the server."""
        return float(self._process.memory_info().rss / 2**20)


@asynccontextmanager
async def _server(data: Path) -> AsyncIterator[_Server]:
    kubeconfig = data / "kubeconfig"
    kubeconfig.unlink(missing_ok=True)
    command = (sys.executable, "-m", "bench.timed_apiserver", "--data", str(data), "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, "--log-level", "warning")
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not kubeconfig.exists():  # noqa: ASYNC110 - a file has no Event
                await asyncio.sleep(0.02)
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS_AT_ONCE)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            yield _Server(cluster["server"], psutil.Process(process.pid), session, tls)
    finally:
        process.terminate()
        await process.wait()


async def _applied(server: _Server) -> Figures:
    """As `kubectl apply -f` of a long file: one after the other, looked up and then created."""
    times = []
    began = time.perf_counter()
    for number in range(APPLIED):
        await server.call("GET", f"{DEVICES}/{_name(number)}", missing=True)
        await server.call("POST", DEVICES, _device(number))
        times.append(server.took_ms)
    took = time.perf_counter() - began
    times.sort()
    reference: dict[str, float | str] = {"the server's part of a creation, p50, ms": statistics.median(times)}
    note = f"{APPLIED} Devices, each looked up and created, one after the other; {took:.1f} s"
    return {"devices_applied_per_second": Figure(APPLIED / took, "1/s", reference, note)}


async def _patched(server: _Server) -> Figures:
    """Status patches one at a time: what the server takes, and what the client sees."""
    seen, taken = [], []
    for number in range(PATCHES):
        body = _status(number)
        began = time.perf_counter()
        await server.call("PATCH", f"{DEVICES}/{_name(number % APPLIED)}/status", body)
        seen.append(1e3 * (time.perf_counter() - began))
        taken.append(server.took_ms)
    reference: dict[str, float | str] = {"aim, at most": 2, "as the client sees it": _percentile(seen, 50)}
    tail: dict[str, float | str] = {"as the client sees it": _percentile(seen, 99)}
    note = "merge patch, one at a time, at the server: from the request's head to the answer, commit to disk included"
    return {
        "status_patch_p50_ms": Figure(_percentile(taken, 50), "ms", reference, note),
        "status_patch_p99_ms": Figure(_percentile(taken, 99), "ms", tail),
    }


async def _watched(server: _Server) -> Figures:
    """Watches of all Devices, and how soon one status patch reaches each of them."""
    before = server.resident_mb()
    loop = asyncio.get_running_loop()
    host, _, port = server.url.removeprefix("https://").rpartition(":")
    version = json.loads(await server.call("GET", f"{DEVICES}?limit=1"))["metadata"]["resourceVersion"]
    head = f"GET {DEVICES}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: {host}\r\n"
    request = f"{head}Authorization: {server.authorization}\r\nAccept: application/json\r\n\r\n".encode()
    arrivals: list[float] = []
    watches: list[_Watch] = []
    try:
        while len(watches) < WATCHES:
            made = (
                loop.create_connection(lambda: _Watch(request, arrivals), host, int(port), ssl=server.tls)
                for _ in range(CONNECTIONS_AT_ONCE)
            )
            watches += [watch for _, watch in await asyncio.gather(*made)]
        await _until(lambda: all(watch.answered for watch in watches))
        held = server.resident_mb() - before
        halves, wholes, times = [], [], []
        for number in range(ROUNDS):
            arrivals.clear()
            began = time.perf_counter()
            await server.call("PATCH", f"{DEVICES}/{_name(number)}/status", _status(APPLIED + number))
            times.append(server.took_ms)
            await _until(lambda: len(arrivals) == len(watches))
            halves.append(1e3 * (statistics.median(arrivals) - began))
            wholes.append(1e3 * (max(arrivals) - began))
    finally:
        for watch in watches:
            watch.close()
    reference: dict[str, float | str] = {
        "half of them, ms": statistics.median(halves),
        "kB of memory a watch": 1024 * held / WATCHES,
        "the patch itself at the server, ms": statistics.median(times),
    }
    note = (
        f"one status patch to the last of {WATCHES} watches in one client process on the same cores, median of {ROUNDS}"
    )
    return {"watches_2000_delivery_ms": Figure(statistics.median(wholes), "ms", reference, note)}


class _Watch(asyncio.Protocol):
    """A watch that notes when an event is there."""

    def __init__(self, request: bytes, arrivals: list[float]) -> None:
        self._request = request
        self._arrivals = arrivals
        self._line = b""
        self.answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """The head of the answer, then events: each ends with a newline within its chunk."""
        if not self.answered:
            self.answered = data.startswith(b"HTTP/1.1 200")
            return
        self._line += data
        if b"}\n" in self._line:
            self._arrivals.append(time.perf_counter())
            self._line = b""

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()


async def _filled(server: _Server) -> None:
    """Every one of the objects, with its status."""

    async def some(numbers: range) -> None:
        for number in numbers:
            if number >= APPLIED:
                await server.call("POST", DEVICES, _device(number))
            await server.call("PATCH", f"{DEVICES}/{_name(number)}/status", _status(number))

    at_once = CONNECTIONS_AT_ONCE
    await asyncio.gather(*(some(range(first, OBJECTS, at_once)) for first in range(at_once)))


async def _until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - thousands of connections share no Event
            await asyncio.sleep(0.001)


def _name(number: int) -> str:
    return f"boiler-{number:05d}"


def _device(number: int) -> dict[str, Any]:
    boiler = next(m for m in _PLC if m["kind"] == "Device" and m["metadata"]["name"] == "boiler")
    return {**boiler, "metadata": {"name": _name(number), "namespace": "default"}}


def _status(number: int) -> dict[str, Any]:
    """What cloudcore writes of a boiler whose temperature has changed."""
    timestamp = str(time.time_ns() // 1_000_000)
    twins = []
    for name, value, type in (
        ("temperature", f"{number % 1000 / 10}", "float"),
        ("pressure", "1.34", "float"),
        ("alarm", "false", "boolean"),
        ("pump", "true", "boolean"),
        ("setpoint", "71.5", "float"),
    ):
        reported = {"value": value, "metadata": {"timestamp": timestamp, "type": type}}
        twins.append({"propertyName": name, "reported": reported})
    twins[-1]["observedDesired"] = {"value": "71.5", "metadata": {"timestamp": timestamp}}
    accepted = {"type": "Accepted", "status": "True", "reason": "Delivered", "message": "node edge-1 has it"}
    condition = accepted | {"observedGeneration": 1, "lastTransitionTime": "2026-11-23T13:14:07Z"}
    online = {"state": "online", "lastOnlineTime": "2026-11-23T13:14:08Z"}
    return {"status": {"conditions": [condition], **online, "twins": twins}}


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


_PLC = demo.plc_manifests("edge-1", 5502)
