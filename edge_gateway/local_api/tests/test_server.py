"""The real edgecore, with no cloud: kubectl, the Kubernetes client, a bare socket, and clients that mean no good."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.broker.packets import Publish
from edge_gateway.broker.tests.brokers import ROOT, Raw, until
from edge_gateway.local_api.server import BODY_BYTES, CONNECTIONS, HEAD_BYTES
from edge_gateway.local_api.tests.gateway import DEVICE, Edgecore
from edgewire import board, topics

pytestmark = pytest.mark.timeout(240)

WISH = '{"spec":{"properties":[{"name":"speed","desired":{"value":"%s"}}]}}'


@pytest.fixture(scope="module")
def edgecore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edgecore]:
    process = Edgecore(tmp_path_factory.mktemp("gateway"))
    try:
        process.start()
        until(lambda: "Started" in process.log(), "its pod runs", 40.0)
        yield process
    finally:
        process.stop()


def kubectl_command(edgecore: Edgecore, *arguments: str) -> tuple[list[str], dict[str, str]]:
    found = shutil.which("kubectl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing")
        pytest.skip("kubectl is missing")
    environment = {**os.environ, "HOME": str(edgecore.folder), "KUBECONFIG": str(edgecore.kubeconfig)}
    return [found, *arguments], environment


def kubectl(edgecore: Edgecore, *arguments: str) -> str:
    """What kubectl prints, errors too."""
    command, environment = kubectl_command(edgecore, *arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)
    return done.stdout + done.stderr


def connected(edgecore: Edgecore, *, port: bool) -> socket.socket:
    if port:
        plain = socket.create_connection(("127.0.0.1", edgecore.api_port), timeout=30)
        return edgecore.tls().wrap_socket(plain, server_hostname="127.0.0.1")
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(edgecore.socket))
    return client


def exchange(edgecore: Edgecore, sent: bytes, *, port: bool = False) -> bytes:
    """All that is answered until the server closes."""
    with connected(edgecore, port=port) as client:
        client.sendall(sent)
        answer = b""
        while data := client.recv(65536):
            answer += data
    return answer


def request(path: str, *headers: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def token(edgecore: Edgecore, name: str, *more: str) -> str:
    command = [sys.executable, "-m", "edge_gateway", "token", name, *more, "--config", str(edgecore.file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


# kubectl


def test_kubectl_shows_everything_the_gateway_has(edgecore: Edgecore) -> None:
    shown = kubectl(edgecore, "get", "pods,configmaps,devices,devicemodels,nodes", "-o", "wide")
    for name in ("pod/web", "configmap/settings", "device.devices.kubeedge.io/s1", "/meter", "node/edge1"):
        assert name in shown, shown
    assert "Running" in shown, shown


def test_kubectl_prints_and_describes_a_device(edgecore: Edgecore) -> None:
    device = json.loads(kubectl(edgecore, "get", "device", "s1", "-o", "json"))
    assert (device["kind"], device["spec"]["deviceModelRef"]["name"]) == ("Device", "meter")
    assert "deviceModelRef:" in kubectl(edgecore, "get", "device", "s1", "-o", "yaml")
    described = kubectl(edgecore, "describe", "device", "s1")
    assert "Property Name:  speed" in described, described


def test_kubectl_sets_a_desired_value_and_the_device_hears_it(edgecore: Edgecore) -> None:
    delta = topics.of_device("default/s1", topics.DELTA)
    with Raw(edgecore).connect("board") as client:
        client.subscribe(delta)
        done = kubectl(edgecore, "patch", "device", "s1", "--type=merge", "-p", WISH % "17")
        assert "patched" in done, done
        heard = client.next(Publish)
    assert json.loads(heard.payload)["delta"] == {"speed": "17"}
    refused = kubectl(edgecore, "patch", "device", "s1", "--type=merge", "-p", WISH % "700")
    assert "above the maximum 100" in refused, refused


def test_kubectl_watches_a_device(edgecore: Edgecore) -> None:
    columns = "custom-columns=VALUE:.status.twins[?(@.propertyName=='temperature')].reported.value"
    command, environment = kubectl_command(edgecore, "get", "device", "s1", "-w", "-o", columns)
    out = edgecore.folder / "watched"
    with out.open("wb") as file:
        watching = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        until(lambda: "VALUE" in out.read_text(), "kubectl shows the device", 40.0)
        with Raw(edgecore).connect("sensor") as client:
            topic = topics.of_device("default/s1", topics.UPDATE)
            client.publish(topic, board.report({"temperature": ("47.25", 0)}).encode(), qos=0)
            until(lambda: "47.25" in out.read_text(), "kubectl shows the new value", 40.0)
    finally:
        watching.kill()
        watching.wait()


def test_secrets_and_deletions_are_refused_in_words(edgecore: Edgecore) -> None:
    assert "no right to read Secrets" in kubectl(edgecore, "get", "secrets")
    assert "objects come from the cloud" in kubectl(edgecore, "delete", "pod", "web", "--wait=false")


# Other clients

CLIENT = """
import sys
from kubernetes import client, config, watch
config.load_kube_config(sys.argv[1])
devices = client.CustomObjectsApi()
about = ("devices.kubeedge.io", "v1beta1", "default", "devices")
listed = devices.list_namespaced_custom_object(*about)
print([item["metadata"]["name"] for item in listed["items"]])
wish = {"spec": {"properties": [{"name": "power", "desired": {"value": "from python"}}]}}
devices.patch_namespaced_custom_object(*about, "s2", wish)
since = listed["metadata"]["resourceVersion"]
for event in watch.Watch().stream(devices.list_namespaced_custom_object, *about, resource_version=since, timeout_seconds=20):
    if event["object"]["metadata"]["name"] == "s2":
        print(event["type"], event["object"]["spec"]["properties"][-1]["desired"]["value"])
        break
print([pod.status.phase for pod in client.CoreV1Api().list_namespaced_pod("default").items])
print(client.CoreV1Api().list_node().items[0].metadata.name)
"""


def test_the_kubernetes_client_lists_patches_and_watches(edgecore: Edgecore) -> None:
    # A process of its own: the gateway's tests do not import what no gateway has.
    command = [sys.executable, "-W", "ignore", "-c", CLIENT, str(edgecore.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout.splitlines() == ["['s1', 's2']", "MODIFIED from python", "['Running']", "edge1"], done.stderr


def test_who_may_open_the_socket_needs_no_token(edgecore: Edgecore) -> None:
    assert edgecore.socket.stat().st_mode & 0o777 == 0o660
    answer = exchange(edgecore, request(DEVICE, "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 200")
    body = WISH % "21"
    headers = ("Connection: close", "Content-Type: application/merge-patch+json")
    assert b'"value":"21"' in exchange(edgecore, request(DEVICE, *headers, method="PATCH", body=body))


def test_the_kubeconfig_is_for_its_owner_only(edgecore: Edgecore) -> None:
    assert edgecore.kubeconfig.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("header", ["X: y", "Authorization: Bearer wrong", "Authorization: Basic eDp5"])
def test_the_port_wants_a_token(edgecore: Edgecore, header: str) -> None:
    answer = exchange(edgecore, request("/api/v1/pods", header, "Connection: close"), port=True)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b'"reason":"Unauthorized"' in answer


def test_a_token_of_the_command_lets_in_and_a_viewer_only_reads(edgecore: Edgecore) -> None:
    bearer = f"Authorization: Bearer {token(edgecore, 'dashboard')}"
    assert exchange(edgecore, request(DEVICE, bearer, "Connection: close"), port=True).startswith(b"HTTP/1.1 200")
    patch = request(DEVICE, bearer, "Connection: close", method="PATCH", body=WISH % "3")
    assert exchange(edgecore, patch, port=True).startswith(b"HTTP/1.1 403")
    token(edgecore, "dashboard", "--revoke")
    assert exchange(edgecore, request(DEVICE, bearer, "Connection: close"), port=True).startswith(b"HTTP/1.1 401")


# Clients that mean no good


def test_requests_in_a_row_are_answered_in_their_order(edgecore: Edgecore) -> None:
    paths = ["/version", "/nothing", "/healthz"]
    answers = exchange(edgecore, b"".join(map(request, paths)) + request("/api", "Connection: close"))
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200", b"200"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (request("/version", "X: " + "x" * 4 * HEAD_BYTES), b"431"),
        (b"GET /" + b"x" * 4 * HEAD_BYTES, b"431"),
        (b"\x16\x03\x01 not HTTP\r\n\r\n", b"400"),
        (b"GET /version HTTP/1.1\r\n\r\n", b"400"),
        (request("/version", "Transfer-Encoding: chunked, chunked"), b"501"),
        (
            b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES * 9) + b"x" * (BODY_BYTES + 1),
            b"413",
        ),
        (request("/api/v1/pods?" + "&".join(f"a{n}=1" for n in range(99)), "Connection: close"), b"400"),
    ],
    ids=["huge header", "endless line", "not HTTP", "no host", "odd encoding", "huge body", "many parameters"],
)
def test_what_is_too_much_or_no_http_is_refused(edgecore: Edgecore, sent: bytes, code: bytes) -> None:
    try:
        answer = exchange(edgecore, sent)
    except (ConnectionResetError, BrokenPipeError):  # it did not take all of it
        return
    assert answer.startswith(b"HTTP/1.1 " + code), answer[:200]


async def test_slow_clients_lose_their_place_and_shut_nobody_out(edgecore: Edgecore) -> None:
    slow = [await asyncio.open_connection("127.0.0.1", edgecore.api_port) for _ in range(CONNECTIONS)]
    try:
        for _, writer in slow:
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # the first bytes of a handshake
        answer = await asyncio.to_thread(exchange, edgecore, request("/version", "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200")  # the socket has its own places
        async with asyncio.timeout(40):
            assert await asyncio.gather(*(_until_closed(reader) for reader, _ in slow)) == [b""] * CONNECTIONS
    finally:
        for _, writer in slow:
            writer.close()
    await asyncio.to_thread(until, lambda: _answers(edgecore), "the port has room again", 40.0)


def _answers(edgecore: Edgecore) -> bool:
    try:
        return exchange(edgecore, request("/version", "Connection: close"), port=True).startswith(b"HTTP/1.1 401")
    except OSError:
        return False


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_watches_that_end_leave_nothing_behind(edgecore: Edgecore) -> None:
    path = DEVICE.rpartition("/")[0]
    for _ in range(CONNECTIONS + 8):  # more than there is room for at a time
        until(lambda: _watched(edgecore, path), "there is room for one more watch")


def test_a_watch_ends_when_its_time_is_over(edgecore: Edgecore) -> None:
    path = DEVICE.rpartition("/")[0]
    until(lambda: _watched(edgecore, path), "there is room for one more watch")
    answer = exchange(edgecore, request(f"{path}?watch=true&timeoutSeconds=1"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"0\r\n\r\n")


def _watched(edgecore: Edgecore, path: str) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(30)
        client.connect(str(edgecore.socket))
        try:
            client.sendall(request(f"{path}?watch=true"))
            return client.recv(4096).startswith(b"HTTP/1.1 200")
        except (ConnectionResetError, BrokenPipeError):
            return False


def test_a_kill_leaves_a_socket_that_the_next_start_replaces(tmp_path: Path) -> None:
    process = Edgecore(tmp_path, runtime="none")
    try:
        process.start()
        process.fail()
        answer: Any = exchange(process, request("/version", "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200")
    finally:
        process.stop()
