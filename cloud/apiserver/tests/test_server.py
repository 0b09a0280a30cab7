"""The HTTP shell from within: bookmarks, watches that end, readers that are slow, writes the disk refuses."""

import asyncio
import base64
import json
import sqlite3
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from cloud.apiserver.server import ApiServer
from cloud.apiserver.storage import Storage
from cloud.apiserver.watch import QUEUE_EVENTS

MAPS = "/api/v1/namespaces/default/configmaps"


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - any condition, not only one that has an Event
            await asyncio.sleep(0.005)
    assert condition(), what


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(tmp_path, port=0, bookmark_s=0.05)
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(ready))
    try:
        await until(lambda: ready.is_set() or running.done(), "the server listens")
        if running.done():
            running.result()
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    config = yaml.safe_load(server.kubeconfig.read_text())
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=0)
    async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session:
        yield session


async def post(client: aiohttp.ClientSession, name: str, value: str = "") -> Any:
    async with client.post(MAPS, json={"metadata": {"name": name}, "data": {"v": value}}) as response:
        assert response.status == 201, await response.text()
        return await response.json()


def watch(client: aiohttp.ClientSession, **query: str) -> Any:
    return client.get(MAPS, params={"watch": "true", **query})


async def line(response: aiohttp.ClientResponse) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await response.content.readline())


async def test_bookmarks_come_by_themselves_and_name_how_far_the_server_is(client: aiohttp.ClientSession) -> None:
    first = await post(client, "a")
    version = first["metadata"]["resourceVersion"]
    async with watch(client, resourceVersion=version, allowWatchBookmarks="true") as response:
        found = await line(response)
        assert found["type"] == "BOOKMARK"
        assert found["object"]["kind"] == "ConfigMap"
        assert found["object"]["metadata"]["resourceVersion"] == version
        other = "/api/v1/namespaces/default/secrets"
        async with client.post(other, json={"metadata": {"name": "s"}}) as answer:
            newer = (await answer.json())["metadata"]["resourceVersion"]
        while found["object"]["metadata"]["resourceVersion"] != newer:
            found = await line(response)
            assert found["type"] == "BOOKMARK"
        # Whoever goes on from a bookmark has missed nothing.
        await post(client, "b")
        async with watch(client, resourceVersion=newer) as again:
            assert (await line(again))["object"]["metadata"]["name"] == "b"


async def test_no_bookmarks_come_unasked(client: aiohttp.ClientSession) -> None:
    version = (await post(client, "a"))["metadata"]["resourceVersion"]
    async with watch(client, resourceVersion=version, timeoutSeconds="1") as response:
        assert await response.read() == b""


async def test_a_client_that_goes_away_is_forgotten(server: ApiServer, client: aiohttp.ClientSession) -> None:
    log = server.objects.logs.of("configmaps")
    responses = [await watch(client) for _ in range(5)]
    await until(lambda: log.watching == 5, "five watches")
    for response in responses:
        response.close()
    await until(lambda: log.watching == 0, "no watch")


async def test_a_reader_that_does_not_read_is_ended_and_holds_up_nobody(
    server: ApiServer, client: aiohttp.ClientSession
) -> None:
    slow = await watch(client, resourceVersion=str(server.objects.state.revision))
    log = server.objects.logs.of("configmaps")
    await post(client, "a")
    headers = {"Content-Type": "application/merge-patch+json"}

    async def change(number: int) -> None:
        body = json.dumps({"data": {"v": str(number % 10) * 10_000}})
        async with client.patch(f"{MAPS}/a", data=body, headers=headers) as response:
            assert response.status == 200

    for round in range(0, QUEUE_EVENTS + 1000, 100):  # some 20 MB: the sockets' buffers and then the whole queue
        await asyncio.gather(*(change(number) for number in range(round, round + 100)))
    await until(lambda: log.watching == 0, "the slow watch is ended")
    with pytest.raises(aiohttp.ClientError):
        await slow.read()
    async with watch(client) as quick:
        assert (await line(quick))["object"]["metadata"]["name"] == "a"


async def test_what_the_disk_refuses_is_not_there(
    server: ApiServer, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Storage, changes: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "_commit", full)
        async with client.post(MAPS, json={"metadata": {"name": "a"}}) as response:
            assert response.status == 500
            assert "disk is full" in (await response.json())["message"]
    async with client.get(f"{MAPS}/a") as response:
        assert response.status == 404
    await post(client, "a")


async def test_every_answer_waits_for_the_disk(
    server: ApiServer, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, commit = threading.Event(), Storage._commit

    def held(self: Storage, changes: Any) -> None:
        assert gate.wait(10)
        commit(self, changes)

    monkeypatch.setattr(Storage, "_commit", held)
    async with watch(client) as watching:
        writing = asyncio.create_task(post(client, "a"))
        await until(lambda: server.objects.state.assigned > server.objects.state.revision, "the write is pending")
        async with client.get(MAPS) as response:
            assert (await response.json())["items"] == []
        assert not writing.done()
        gate.set()
        created = await writing
        assert (await line(watching))["object"] == created


async def test_a_long_list_is_sent_in_pieces_and_is_whole(client: aiohttp.ClientSession) -> None:
    names = [f"n{number:03d}" for number in range(60)]
    for name in names:
        await post(client, name, "x" * 5_000)
    async with client.get(MAPS) as response:
        assert response.headers.get("Transfer-Encoding") == "chunked"
        listed = await response.json()
    assert [item["metadata"]["name"] for item in listed["items"]] == names
    async with client.get(MAPS, params={"limit": "2"}) as response:
        assert int(response.headers["Content-Length"]) < 20_000
    async with client.delete(MAPS) as response:
        assert [item["metadata"]["name"] for item in (await response.json())["items"]] == names
    async with watch(client) as watching:  # nothing is left to begin with
        await post(client, "after")
        assert (await line(watching))["object"]["metadata"]["name"] == "after"


async def test_warnings_quote_anything_and_never_keep_an_answer_back(client: aiohttp.ClientSession) -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "test.example", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"metadata": {"name": "widgets.test.example"}, "spec": spec}
    async with client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=definition) as response:
        assert response.status == 201
    unknown = {"a\r\nX-Made: up\x00\xe4": 1} | {f"{number:0300}": 1 for number in range(200)}
    widget = {"metadata": {"name": "w"}, **unknown}
    async with client.post("/apis/test.example/v1/namespaces/default/widgets", json=widget) as response:
        assert response.status == 201, await response.text()
        warnings = response.headers.getall("Warning")
        assert warnings[0] == '299 - "unknown field \\"a  X-Made: up \xe4\\""'
        assert "X-Made" not in response.headers
        assert sum(map(len, warnings)) < 6000
