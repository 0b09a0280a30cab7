"""Connections to ports of pods of a gateway, through the whole stack, with kubectl as their user."""

import asyncio
import hashlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from hedgerow.stack import free_port
from hil_tests.bench.port_forward import forwarding
from hil_tests.test_pod_exec import SPDY
from hil_tests.test_pods import DEADLINE_S, WAITS, Gateway, gateway, pod

__all__ = ["gateway"]

SERVER = """
import asyncio, hashlib, random, sys

async def serve(reader, writer):
    # The first line says what is wanted: what there is, a digest, everything back, or bytes without end.
    wanted = await reader.readline()
    if wanted == b"give\\n":
        writer.write(random.Random(7).randbytes(10_000_000))
    elif wanted == b"digest\\n":
        writer.write(hashlib.sha256(await reader.read()).digest())
    elif wanted == b"echo\\n":
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    else:
        while True:
            writer.write(bytes(65536))
            await writer.drain()
    await writer.drain()
    writer.close()

async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture(params=["websocket", "spdy"])
def speech(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What kubectl speaks; one of before 1.31 has SPDY only."""
    if request.param == "spdy":
        for name, value in SPDY.items():
            monkeypatch.setenv(name, value)
    return str(request.param)


def server(folder: Path, port: int) -> dict[str, Any]:
    """A pod that answers on a port of the machine's, which is not echoed where it ends."""
    file = folder / "server.py"
    file.write_text(SERVER)
    container = {"command": [sys.executable, str(file), str(port)], "ports": [{"containerPort": port}]}
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return pod("web", WAITS, container={**container, "readinessProbe": probe})


@pytest.mark.timeout(180)
async def test_ten_megabytes_arrive_as_they_were_with_other_connections_beside(gateway: Gateway, speech: str) -> None:
    port = free_port()
    await gateway.apply(server(gateway.folder, port))
    await gateway.wait_ready("web")
    content = random.Random(7).randbytes(10_000_000)
    digest = hashlib.sha256(content).digest()
    async with forwarding(gateway.stack.kubeconfig, "web", port) as forwarded:
        asked = b"digest\n" + content if speech == "spdy" else b"give\n"
        large, *small = await asyncio.gather(
            forwarded.ask(asked), *(forwarded.ask(b"echo\n%d" % number) for number in range(30))
        )
        assert (large if speech == "spdy" else hashlib.sha256(large).digest()) == digest
        assert small == [b"%d" % number for number in range(30)]
    await what_cannot_be_connected_to_is_said(gateway)


async def what_cannot_be_connected_to_is_said(gateway: Gateway) -> None:
    port, other = free_port(), free_port()
    await gateway.apply(pod("deaf", WAITS, container={"ports": [{"containerPort": port}]}))
    await gateway.wait_ready("deaf")
    async with forwarding(gateway.stack.kubeconfig, "deaf", port) as forwarded:
        assert await forwarded.ask(b"x") == b""
        await forwarded.complains(f'failed to connect to localhost:{port} inside namespace "host", IPv4: dial tcp4 ')
    async with forwarding(gateway.stack.kubeconfig, "deaf", other) as forwarded:
        assert await forwarded.ask(b"x") == b""
        await forwarded.complains(f"{other} is none of the containerPorts that it names")


@pytest.mark.parametrize("gateway", ["podman"], indirect=True)
async def test_what_listens_on_a_pods_own_loopback_is_reached(gateway: Gateway) -> None:
    port = 8080
    page = gateway.folder / "index.html"
    page.write_text("a page\n")
    volume = {"volumes": [{"name": "v", "hostPath": {"path": str(gateway.folder)}}]}
    look = ["busybox", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}/index.html"]
    container = {
        "ports": [{"containerPort": port}],
        "volumeMounts": [{"name": "v", "mountPath": str(gateway.folder)}],
        "readinessProbe": {"exec": {"command": look}, "periodSeconds": 1, "timeoutSeconds": 10},
    }
    script = f"exec busybox httpd -f -p 127.0.0.1:{port} -h {gateway.folder}"
    await gateway.apply(pod("web", script, container=container, **volume))
    await gateway.wait_ready("web")
    async with forwarding(gateway.stack.kubeconfig, "web", port) as forwarded:
        answer = await forwarded.ask(b"GET /index.html HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.")
        assert answer.endswith(b"\r\n\r\na page\n")


async def test_a_connection_ends_with_its_user_and_with_its_pod(gateway: Gateway) -> None:
    port = free_port()
    await gateway.apply(server(gateway.folder, port))
    await gateway.wait_ready("web")

    def connections() -> int:
        return sum(line.split()[3] == "01" for line in tcp() if line.split()[1].endswith(f":{port:04X}"))

    def tcp() -> list[str]:
        return Path("/proc/net/tcp").read_text().splitlines()[1:]

    async with forwarding(gateway.stack.kubeconfig, "web", port) as forwarded:
        reader, writer = await forwarded.connect()
        writer.write(b"zeros\n")
        async with asyncio.timeout(DEADLINE_S):
            await reader.readexactly(1_000_000)
        assert connections() == 1
    await gateway.until(lambda: connections() == 0, "the connection ends with its user")
    writer.close()
    async with forwarding(gateway.stack.kubeconfig, "web", port) as forwarded:
        reader, writer = await forwarded.connect()
        writer.write(b"echo\nx")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readexactly(1) == b"x"
            await gateway.kubectl("delete", "pod", "web", "--wait=false")
            assert await reader.read() == b""
        writer.close()


CLIENT = """
import random, sys, threading
from kubernetes import config
from kubernetes.client import CoreV1Api
from kubernetes.stream import portforward, stream

api, port = CoreV1Api(config.new_client_from_config(sys.argv[1])), int(sys.argv[2])
content = random.Random(7).randbytes(1_000_000)
forwarded = portforward(api.connect_get_namespaced_pod_portforward, "web", "default", ports=str(port))
connection = forwarded.socket(port)
connection.settimeout(60)
connection.sendall(b"echo\\n")
threading.Thread(target=connection.sendall, args=(content,), daemon=True).start()
got = b""
while len(got) < len(content):
    piece = connection.recv(1 << 20)
    assert piece, forwarded.error(port)
    got += piece
connection.close()
assert got == content
print(stream(api.connect_get_namespaced_pod_exec, "web", "default", command=["echo", "said"], stdout=True))
"""


async def test_the_python_client_connects_and_runs_commands_too(gateway: Gateway) -> None:
    port = free_port()
    await gateway.apply(server(gateway.folder, port))
    await gateway.wait_ready("web")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLIENT, str(gateway.stack.kubeconfig), str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said.split() == [b"said"], complaint.decode()
