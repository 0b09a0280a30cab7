"""The server as a process: what it answered yes to survives kill -9, and it stops and starts cleanly."""

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.apiserver import copies
from cloud.apiserver.tests.http import JSON_PATCH, STRATEGIC, Answer, Api
from cloud.apiserver.tests.process import ServerProcess

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.kill()


class _Writer(threading.Thread):
    """Creates, patches and deletes until the server is gone; knows what was answered yes, and what it may have missed."""

    def __init__(self, kubeconfig: Path, number: int) -> None:
        super().__init__()
        self._api = Api(kubeconfig)
        self._number = number
        self.acknowledged: dict[str, str | None] = {}
        """Name -> the value it must have, or None when it must be gone."""
        self.open: tuple[str, str | None] | None = None
        """The write that was under way when the server died: it may have happened or not."""
        self.highest = 0
        self.writes = 0

    def run(self) -> None:
        count = 0
        try:
            while True:
                self._write(count)
                count += 1
        except (OSError, json.JSONDecodeError, AssertionError):
            pass  # the server is gone
        finally:
            self._api.close()

    def _write(self, count: int) -> None:
        name, value = f"w{self._number}-{count % 5}", str(count)
        there = self.acknowledged.get(name) is not None
        delete = there and count % 11 == 10
        self.open = name, None if delete else value
        if delete and count % 2:
            self._api.delete(f"{MAPS}/{name}").ok()
        elif delete:
            self._api.delete(MAPS, query={"fieldSelector": f"metadata.name={name}"}).ok()
        elif there:
            obj = self._change(name, value, count).ok()
            self.highest = int(obj["metadata"]["resourceVersion"])
        else:
            self._api.post(MAPS, {"metadata": {"name": name}, "data": {"v": value}}).ok()
        self.acknowledged[name] = None if delete else value
        self.open = None
        self.writes += 1

    def _change(self, name: str, value: str, count: int) -> Answer:
        """Every way there is to change an object, one after the other."""
        path, changed = f"{MAPS}/{name}", {"data": {"v": value}}
        match count % 4:
            case 0:
                return self._api.put(path, {"metadata": {"name": name}} | changed)
            case 1:
                return self._api.patch(path, [{"op": "replace", "path": "/data/v", "value": value}], JSON_PATCH)
            case 2:
                return self._api.patch(path, changed, STRATEGIC)
            case _:
                return self._api.patch(path, changed)


@pytest.mark.parametrize("writes", [1, 40, 250])
def test_what_was_acknowledged_survives_a_kill_under_load(server: ServerProcess, writes: int) -> None:
    writers = [_Writer(server.kubeconfig, number) for number in range(6)]
    for writer in writers:
        writer.start()
    until = time.monotonic() + 20
    while sum(writer.writes for writer in writers) < writes:
        assert time.monotonic() < until
        time.sleep(0.001)
    server.kill()
    for writer in writers:
        writer.join()

    server.start()
    api = Api(server.kubeconfig)
    listed = api.get(MAPS).ok()
    found = {item["metadata"]["name"]: item["data"]["v"] for item in listed["items"]}
    for writer in writers:
        for name, value in writer.acknowledged.items():
            possible = {value} | ({writer.open[1]} if writer.open and writer.open[0] == name else set())
            assert found.get(name) in possible, name
    highest = max(writer.highest for writer in writers)
    assert int(listed["metadata"]["resourceVersion"]) >= highest
    created = api.post(MAPS, {"metadata": {"name": "after"}}).ok()
    assert int(created["metadata"]["resourceVersion"]) > highest
    api.close()


def test_a_watch_goes_on_from_the_present_or_is_told_to_list_again_after_a_restart(server: ServerProcess) -> None:
    api = Api(server.kubeconfig)
    old = api.post(MAPS, {"metadata": {"name": "a"}}).ok()["metadata"]["resourceVersion"]
    api.post(MAPS, {"metadata": {"name": "b"}}).ok()
    last = api.get(MAPS).ok()["metadata"]["resourceVersion"]
    api.close()
    server.kill()
    server.start()
    api = Api(server.kubeconfig)
    with api.watch(MAPS, resourceVersion=last) as watching:
        api.post(MAPS, {"metadata": {"name": "c"}}).ok()
        assert [obj["metadata"]["name"] for _, obj in watching.take(1)] == ["c"]
    with api.watch(MAPS, resourceVersion=old) as watching:
        assert watching.code == 410
        assert json.loads(watching.response.read())["reason"] == "Expired"
    api.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_within_two_seconds_watches_or_not(server: ServerProcess, number: int) -> None:
    api = Api(server.kubeconfig)
    with api.watch(MAPS) as first, api.watch("/api/v1/nodes") as second:
        assert (first.code, second.code) == (200, 200)
        begun = time.monotonic()
        assert server.signal(number) == 0
        assert time.monotonic() - begun < 2
        assert first.rest() == []
        assert second.rest() == []
    api.close()


def test_a_restart_keeps_port_certificates_and_token(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        kubeconfig = server.kubeconfig.read_text()
        assert stat.S_IMODE(server.kubeconfig.stat().st_mode) == 0o600
        api = Api(server.kubeconfig)
        port = api.address[1]
        api.post(MAPS, {"metadata": {"name": "kept"}}).ok()
        api.close()
        assert server.stop() == 0
        again = ServerProcess(tmp_path / "data", port)
        again.start()
        try:
            assert again.kubeconfig.read_text() == kubeconfig
            api = Api(again.kubeconfig)
            assert api.get(f"{MAPS}/kept").code == 200
            api.close()
        finally:
            again.stop()
    finally:
        server.kill()


def test_a_second_server_on_the_same_folder_refuses_to_start_and_harms_nothing(server: ServerProcess) -> None:
    other = ServerProcess(server.data)
    with pytest.raises(AssertionError, match="in use by another server"):
        other.start(expect_fresh=False)
    assert server.kubeconfig.exists()
    api = Api(server.kubeconfig)
    assert api.get("/readyz").code == 200
    api.close()


def test_a_port_that_is_taken_is_an_error_and_not_a_hang(server: ServerProcess, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    other = ServerProcess(tmp_path / "other", api.address[1])
    with pytest.raises(AssertionError, match="cannot serve"):
        other.start()
    assert not other.kubeconfig.exists()


def test_hostile_bodies_harm_nobody(server: ServerProcess) -> None:
    api = Api(server.kubeconfig)
    deep = b'{"metadata": {"name": "x"}, "data": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_001
    for body in (b"[" * 200_000, b'{"metadata":' * 5_000, deep, b"\xff\xfe", b'{"metadata": {"name": "\\ud800"}}'):
        answer = api.post(MAPS, body)
        assert answer.code in (400, 422), body[:40]
        assert answer.body["kind"] == "Status"
    for headers in ({"Content-Length": "x"}, {"Content-Type": "application/json; charset=\xff"}):
        connection = api.connect(5)
        connection.request("POST", MAPS, b"{}", {**api.headers, **headers})
        assert connection.getresponse().status >= 400
        connection.close()
    api.post(MAPS, {"metadata": {"name": "fine"}}).ok()
    api.close()


def write_until_refused(api: Api) -> tuple[list[str], Answer]:
    """Create config maps of 10 kB until one is refused: the names of those that are there, and the refusal."""
    kept: list[str] = []
    while True:
        name = f"n{len(kept):03d}"
        answer = api.post(MAPS, {"metadata": {"name": name}, "data": {"v": "x" * 10_000}})
        if answer.code != 201:
            return kept, answer
        kept.append(name)
        assert len(kept) < 1000, "the disk is never full"


def check_it_goes_on(api: Api, kept: list[str]) -> None:
    """While nothing can be written: reads are answered, and what was refused has left no trace."""
    assert [item["metadata"]["name"] for item in api.get(MAPS).ok()["items"]] == kept
    refused = f"n{len(kept):03d}"
    assert api.get(f"{MAPS}/{refused}").code == 404
    with api.watch(MAPS) as watching:
        assert [obj["metadata"]["name"] for _, obj in watching.take(len(kept))] == kept


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_refuses_writes_until_there_is_room(disk: Path, tmp_path: Path) -> None:
    server = ServerProcess(disk / "data")
    server.log = tmp_path / "server.log"
    ballast = disk / "ballast"
    try:
        ballast.write_bytes(bytes(500_000))
        server.start()
        api = Api(server.kubeconfig)
        kept, refusal = write_until_refused(api)
        why = refusal.failed(507, "InsufficientStorage")["message"]
        assert why == "the change could not be stored: database or disk is full"
        check_it_goes_on(api, kept)
        ballast.unlink()
        api.post(MAPS, {"metadata": {"name": "room"}, "data": {"v": "x" * 10_000}}).ok()
        api.close()
        server.kill()
        server.start()
        api = Api(server.kubeconfig)
        assert [item["metadata"]["name"] for item in api.get(MAPS).ok()["items"]] == [*kept, "room"]
        api.close()
    finally:
        server.kill()


def fill(disk: Path) -> Path:
    """Take all room that is left: the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
    return ballast


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_on_a_full_disk_serves_what_is_there(disk: Path, tmp_path: Path, clean: bool) -> None:
    server = ServerProcess(disk / "data")
    server.log = tmp_path / "server.log"
    try:
        server.start()
        api = Api(server.kubeconfig)
        api.post(MAPS, {"metadata": {"name": "kept"}}).ok()
        api.close()
        server.stop() if clean else server.kill()
        # The kubeconfig is taken away and written anew, for another port, by the server, in the room it has.
        os.rename(server.kubeconfig, disk / "data" / ".kubeconfig.before")
        ballast = fill(disk)
        server.start()
        assert "no kubeconfig written" not in server.log.read_text()
        assert stat.S_IMODE(server.kubeconfig.stat().st_mode) == 0o600
        api = Api(server.kubeconfig)
        assert api.get(f"{MAPS}/kept").code == 200
        api.post(MAPS, {"metadata": {"name": "more"}, "data": {"v": "x" * 10_000}}).failed(507, "InsufficientStorage")
        ballast.unlink()
        api.post(MAPS, {"metadata": {"name": "more"}, "data": {"v": "x" * 10_000}}).ok()
        api.close()
        server.kill()
        server.start()
        api = Api(server.kubeconfig)
        assert [item["metadata"]["name"] for item in api.get(MAPS).ok()["items"]] == ["kept", "more"]
        api.close()
        assert copies.take(disk / "data", tmp_path / "copy.db").objects > 2
    finally:
        server.kill()


def test_a_disk_that_does_not_take_more_refuses_writes_until_it_does(server: ServerProcess) -> None:
    api = Api(server.kubeconfig)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (400_000, hard))
    kept, refusal = write_until_refused(api)
    assert "the change could not be stored" in refusal.failed(500, "InternalError")["message"]
    check_it_goes_on(api, kept)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard))
    api.post(MAPS, {"metadata": {"name": "room"}}).ok()
    api.close()
