"""CloudHub and all behind it: real TLS, real websockets, a real Kubernetes API, and a scripted node."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloud import certificates, sessions
from cloud.__main__ import CloudCore
from cloud.apiserver.tests.process import ServerProcess
from cloud.cloud_hub import HubError, _node_in, tls_context
from cloud.config import CloudCoreConfig
from cloud.objects import LEASES, NODES
from cloud.tests.cluster import Cluster
from cloud.tests.edge import PROJECT, EdgeClient, dial, edge, tls_of
from cloud.tests.network import Proxy, until
from edgewire import message as wire
from edgewire.service import serve

SAMPLES = Path(__file__).parents[2] / "edgewire" / "samples"


@asynccontextmanager
async def cloudcore(cluster: Cluster, pki: Path, **settings: Any) -> AsyncIterator[int]:
    """A whole cloudcore in this process: its port."""
    config = CloudCoreConfig(
        kubeconfig=cluster.kubeconfig,
        host="127.0.0.1",
        port=0,
        ca=pki / "ca.crt",
        certificate=pki / "server.crt",
        key=pki / "server.key",
        **settings,
    )
    core = CloudCore(config, asyncio.get_running_loop().time())
    serving = asyncio.create_task(serve(*core.services))
    try:
        await until(lambda: serving.done() or core.hub.port, "cloudcore is ready")
        yield core.hub.port
    finally:
        serving.cancel()
        await asyncio.wait((serving,))
        await core.kube.close()
    if not serving.cancelled():
        serving.result()


@pytest.fixture
async def port(cluster: Cluster, pki: Path) -> AsyncIterator[int]:
    """A cloudcore beside the API that stays up."""
    async with cloudcore(cluster, pki) as port:
        yield port


# Who is let in


@pytest.mark.parametrize(
    ("node", "certificate", "header", "reason"),
    [
        ("edge1", "edge2", None, "certificate of system:node:edge2 does not speak for node edge1"),
        ("edge1", "edge1", "edge2", "header node_id does not say edge1"),
        ("Edge1", "edge1", None, "'Edge1' is no name of a node"),
        ("edge1/more", "edge1", None, "is not /<project>/<node>/events"),
    ],
)
async def test_a_node_that_is_not_who_it_claims_gets_403_and_why(
    port: int, pki: Path, node: str, certificate: str, header: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(port, pki, node, certificate=certificate, header=header)
    assert refused.value.response.status_code == 403
    assert reason in (refused.value.response.body or b"").decode()
    assert len([r for r in caplog.records if "connection refused" in r.message]) == 1


async def test_a_client_without_a_certificate_gets_nowhere(port: int, pki: Path) -> None:
    assert await heard_over_tls(port, tls_of(pki, None)) == b""


async def test_a_certificate_of_another_ca_gets_nowhere(port: int, pki: Path, tmp_path: Path) -> None:
    certificates.ensure_node(tmp_path, "edge1")
    context = tls_of(pki, None)
    context.load_cert_chain(tmp_path / "nodes/edge1.crt", tmp_path / "nodes/edge1.key")
    assert await heard_over_tls(port, context) == b""


async def test_who_speaks_no_websocket_is_sent_away_and_nobody_else_minds(
    port: int, pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge(port, pki, "edge2") as other:
        assert b"426 Upgrade Required" in await heard_over_tls(port, tls_of(pki, "edge1"))
        assert await heard_over_tls(port, tls_of(pki, "edge1"), b"nonsense\r\n\r\n") == b""
        again = other.tell_inventory()
        await until(lambda: again.id in other.delivered)
    assert not [r for r in caplog.records if r.exc_info]


async def heard_over_tls(port: int, context: ssl.SSLContext, said: bytes = b"") -> bytes:
    """All that comes back over TLS from who is no node; nothing where the handshake fails."""
    request = said or b"GET /p/edge1/events HTTP/1.1\r\nHost: localhost\r\nnode_id: edge1\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    except (ssl.SSLError, OSError):
        return b""
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    except (ssl.SSLError, OSError):
        return b""
    finally:
        writer.transport.abort()


async def test_a_second_connection_takes_over_from_the_first(port: int, pki: Path, cluster: Cluster) -> None:
    await cluster.create_model()
    async with edge(port, pki) as first:
        await until(lambda: first.delivered)
        async with edge(port, pki) as second:
            await asyncio.wait_for(first.connection.wait_closed(), 5)
            assert first.connection.close_reason == "another connection of this node took over"
            await cluster.create_device("s1")
            await until(lambda: f"{cluster.namespace}/device/s1" in second.objects)
            await cluster.until_node_is("edge1", "True")


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="missing"):
        tls_context(tmp_path / "missing", tmp_path / "b", tmp_path / "c")


# What a node has


async def test_a_device_created_changed_and_deleted_reaches_its_node(port: int, pki: Path, cluster: Cluster) -> None:
    device = f"{cluster.namespace}/device/s1"
    async with edge(port, pki) as node:
        await cluster.create_device("s1")
        await cluster.until_accepted("s1", "False", "ModelNotFound")
        await cluster.create_model()
        await cluster.until_accepted("s1", "True", "Delivered")
        assert node.objects[device]["spec"]["nodeName"] == "edge1"
        mine = [o for o in node.offered if cluster.namespace in o]
        assert mine == [f"insert {cluster.namespace}/devicemodel/m", f"insert {device}"]
        await cluster.set_desired("s1", "7")
        await until(lambda: node.objects[device]["spec"]["properties"][0].get("desired") == {"value": "7"})
        await cluster.delete_device("s1")
        await until(lambda: not [key for key in node.objects if cluster.namespace in key])


async def test_what_changed_while_the_node_was_away_arrives_when_it_is_back(
    port: int, pki: Path, cluster: Cluster
) -> None:
    has: dict[str, str] = {}
    await cluster.create_model()
    for name in ("kept", "changed", "deleted", "moved"):
        await cluster.create_device(name)
    async with edge(port, pki, has=has):
        await until(lambda: len([key for key in has if cluster.namespace in key]) == 5)
    await cluster.create_device("created")
    await cluster.set_desired("changed", "1")
    await cluster.set_desired("changed", "2")
    await cluster.delete_device("deleted")
    await cluster.move("moved", "edge2")
    await cluster.until_accepted("created", "False", "WaitingForNode")
    async with edge(port, pki, has=has) as node:
        await cluster.until_accepted("created", "True", "Delivered")
        await cluster.until_accepted("changed", "True", "Delivered")
        await until(lambda: f"{cluster.namespace}/device/deleted" not in has)
        await until(lambda: f"{cluster.namespace}/device/moved" not in has)
        mine = sorted(o.replace(cluster.namespace, "ns") for o in node.offered if cluster.namespace in o)
        assert mine == [
            "delete ns/device/deleted",
            "delete ns/device/moved",
            "insert ns/device/created",
            "update ns/device/changed",
        ]
        assert node.objects[f"{cluster.namespace}/device/changed"]["spec"]["properties"][0]["desired"] == {"value": "2"}


async def test_a_new_cloudcore_deletes_nothing_that_exists(pki: Path, cluster: Cluster) -> None:
    has: dict[str, str] = {}
    await cluster.create_model()
    await cluster.create_device("s1")
    async with cloudcore(cluster, pki) as port, edge(port, pki, has=has):
        await cluster.until_accepted("s1", "True", "Delivered")
    async with cloudcore(cluster, pki) as port, edge(port, pki, has=has) as node:
        await until(lambda: node.delivered)
        await cluster.set_desired("s1", "3")
        await until(lambda: [o for o in node.offered if "device/s1" in o])
        assert not [o for o in node.offered if o.startswith("delete") and cluster.namespace in o]


async def test_what_a_node_refuses_stands_in_the_condition(port: int, pki: Path, cluster: Cluster) -> None:
    await cluster.create_model()
    async with edge(port, pki) as node:
        node.refuse[f"{cluster.namespace}/device/s1"] = "disk full"
        await cluster.create_device("s1")
        await cluster.until_accepted("s1", "False", "Refused")


# What a node reports


async def test_a_report_is_acknowledged_after_it_is_in_kubernetes_and_not_before(
    own_cluster: Cluster, server: ServerProcess, pki: Path
) -> None:
    await own_cluster.create_model()
    await own_cluster.create_device("s1")
    id = f"{own_cluster.namespace}/s1"
    async with cloudcore(own_cluster, pki) as port, edge(port, pki) as node:
        await own_cluster.until_accepted("s1", "True", "Delivered")
        first = node.report(id, 1, temp="1")
        await until(lambda: first.id in node.delivered)
        assert await own_cluster.reported("s1") == "1"
        await asyncio.to_thread(server.kill)
        second, third = node.report(id, 2, temp="2"), node.report(id, 3, temp="3")
        inventory = node.tell_inventory()
        await until(lambda: inventory.id in node.delivered, "the hub has read on")
        assert not {second.id, third.id} & node.delivered
        await asyncio.to_thread(server.start)
        await until(lambda: {second.id, third.id} <= node.delivered, "acknowledged once Kubernetes is back")
        assert await own_cluster.reported("s1") == "3"


async def test_reports_are_refused_to_whom_they_are_not_allowed(port: int, pki: Path, cluster: Cluster) -> None:
    await cluster.create_model()
    await cluster.create_device("s1")
    async with edge(port, pki, "edge1") as owner, edge(port, pki, "edge2") as other:
        await cluster.until_accepted("s1", "True", "Delivered")
        stolen = other.report(f"{cluster.namespace}/s1", 9, temp="9")
        unknown = owner.report(f"{cluster.namespace}/nobody", 9, temp="9")
        malformed = owner.send(wire.UPDATE, f"device/{cluster.namespace}/s1/twin/edge_updated", {"twin": 7})
        good = owner.report(f"{cluster.namespace}/s1", 1, temp="1")
        await until(lambda: good.id in owner.delivered and len(owner.refused) == 2 and other.refused)
        assert (other.refused[stolen.id][0], owner.refused[unknown.id][0], owner.refused[malformed.id][0]) == (
            403,
            404,
            400,
        )
    assert await cluster.reported("s1") == "1"


async def test_reports_of_many_devices_at_once_all_arrive(pki: Path, cluster: Cluster) -> None:
    await cluster.create_model()
    names = [f"d{n}" for n in range(30)]
    for name in names:
        await cluster.create_device(name)
    async with cloudcore(cluster, pki, qps=1000, burst=1000) as port, edge(port, pki) as node:
        await until(lambda: len([o for o in node.objects if f"{cluster.namespace}/device/" in o]) == 30)
        sent = [node.report(f"{cluster.namespace}/{name}", at, temp=str(at)) for at in range(1, 11) for name in names]
        await until(lambda: {m.id for m in sent} <= node.delivered)
        assert {await cluster.reported(name) for name in names} == {"10"}


async def test_a_bad_frame_is_refused_and_the_connection_stays(
    port: int, pki: Path, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with dial(port, pki, "edge1") as connection:
        for bad in ("no json", b"\x00\xff binary", '{"header":{"msg_id":"7"}}', "[" * 50_000, "{}\n{}"):
            await connection.send(bad)
            answer = wire.decode(await connection.recv())
            assert (answer.operation, answer.read(wire.Refusal).code) == ("error", 400)
        assert len([r for r in caplog.records if "bad frame" in r.message and r.levelno == logging.WARNING]) == 5
        client = EdgeClient(connection, {})
        message = client.tell_inventory()
        running = asyncio.create_task(client.run())
        await until(lambda: message.id in client.delivered)
        running.cancel()
        await asyncio.wait((running,))


async def test_a_frame_beyond_all_bounds_ends_its_connection_only(port: int, pki: Path) -> None:
    async with edge(port, pki, "edge2") as other:
        async with dial(port, pki, "edge1") as connection:
            with suppress(ConnectionClosed):
                await connection.send("x" * (wire.MAX_FRAME + 1))
            await asyncio.wait_for(connection.wait_closed(), 10)
            assert connection.close_code == 1009
        again = other.tell_inventory()
        await until(lambda: again.id in other.delivered)


async def test_kubeedges_edge_is_understood(port: int, pki: Path, cluster: Cluster) -> None:
    """The recorded frames of KubeEdge's edgecore 1.23.1, its device in this test's namespace."""
    await cluster.create_model()
    await cluster.create_device("dev1")
    frames = [json.loads(line) for line in (SAMPLES / "kubeedge-link.jsonl").read_text().splitlines()]
    sent = [f["frame"] for f in frames if f["direction"] == "edge->cloud"]
    answers: dict[str, wire.Message] = {}
    async with dial(port, pki, "edge1") as connection:
        for frame in sent:
            await connection.send(frame.replace("device/default/dev1", f"device/{cluster.namespace}/dev1") + "\n")
        reports = [m for m in map(wire.decode, sent) if m.resource.startswith("device/")]
        while not {m.id for m in reports} <= answers.keys():
            message = wire.decode(await asyncio.wait_for(connection.recv(), 10))
            answers[message.parent_id] = message
    for report in reports:
        answer = answers[report.id]
        assert (answer.operation, answer.resource, answer.group) == ("response", "twin", "twin")
        assert bytes(answer.content) == b'"OK"'
    assert await cluster.reported("dev1", "temperature") == "25"
    assert (await cluster.device("dev1"))["status"]["state"] == "online"


# Nodes


async def test_a_node_is_ready_while_it_is_linked_and_unknown_the_moment_it_is_not(
    port: int, pki: Path, cluster: Cluster
) -> None:
    async with edge(port, pki, "edge2") as node:
        await cluster.until_node_is("edge2", "True")
        told = node.send(wire.UPDATE, "null/nodestatus/edge2", {"os": "linux", "arch": "x86_64", "cpus": 2})
        await until(lambda: told.id in node.delivered)
        object = await cluster.until_node_is("edge2", "True")
        assert object["status"]["nodeInfo"]["architecture"] == "amd64"
        assert object["metadata"]["labels"]["node-role.kubernetes.io/edge"] == ""

        async def leased() -> bool:
            return (await cluster.kube.get(LEASES.path("kube-node-lease", "edge2"))).ok

        await until(leased, "a lease")
    await cluster.until_node_is("edge2", "Unknown")
    assert (await cluster.send("DELETE", NODES.path(name="edge2"))).ok


async def test_a_node_whose_link_is_half_open_is_given_up(
    pki: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SILENCE_S", 0.5)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(cloudcore(cluster, pki))
        proxy = await stack.enter_async_context(Proxy(port))
        await stack.enter_async_context(edge(proxy.port, pki))
        await cluster.until_node_is("edge1", "True")
        proxy.freeze()
        await cluster.until_node_is("edge1", "Unknown")
        await proxy.cut()


def test_the_path_of_a_node_is_kubeedges() -> None:
    assert _node_in(f"/{PROJECT}/edge1/events") == "edge1"
    assert _node_in(f"/{PROJECT}/edge1/events?x=1") == "edge1"
    assert [_node_in(p) for p in ("/", "/a/b", "/a/b/c", "/a/b/events/c", "a/b/events")] == [""] * 5
