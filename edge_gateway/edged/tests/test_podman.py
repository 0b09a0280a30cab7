"""Podman where it differs from plain processes: images, limits, networks, and what happens when its own parts are killed."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest

from edge_gateway.edged.podman_cli import Podman
from edge_gateway.edged.pods import Handler, HttpGet
from edge_gateway.edged.probe_calls import call
from edge_gateway.edged.runtime import CannotStart, Mount, NotYet
from edge_gateway.edged.tests.bench import a_pod
from edge_gateway.edged.tests.desks import PodmanDesk, until
from edgewire.resource import SECRET, Resource
from hil_tests.bench.image_registry import registry
from hil_tests.bench.podman_storage import PodmanStorage


@pytest.fixture
async def desk(
    tmp_path: Path, podman_storage: PodmanStorage, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PodmanDesk]:
    for name, value in podman_storage.env.items():
        monkeypatch.setenv(name, value)
    desk = PodmanDesk(tmp_path)
    await desk.open()
    yield desk
    await desk.end()
    await asyncio.to_thread(podman_storage.clear)


async def test_without_a_command_the_image_says_what_runs(desk: PodmanDesk) -> None:
    pod = desk.pod("", command=None)
    order = desk.order("", pod=pod, command=())
    await desk.runtime.prepare(pod)
    await desk.runtime.start(order)
    await desk.exit(order)
    assert desk.says(order) == ["from the image"]
    assert desk.told == [("Pulled", f'Container image "{desk.image}" already present on machine')]


async def test_memory_above_the_limit_ends_a_container_and_its_reason_says_so(desk: PodmanDesk) -> None:
    order = await desk.start("tail /dev/zero", resources={"limits": {"memory": "16Mi"}})
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (137, "OOMKilled")


async def test_a_read_only_root_and_a_device(desk: PodmanDesk) -> None:
    mounts = (Mount(Path("/dev/zero"), "/dev/meter"),)
    script = "touch /file || echo refused; head -c 3 /dev/meter | tr '\\0' x; echo"
    order = await desk.start(script, mounts=mounts, securityContext={"readOnlyRootFilesystem": True})
    await desk.exit(order)
    assert [line for line in desk.says(order) if line and "touch:" not in line] == ["refused", "xxx"]


async def test_containers_of_a_pod_share_a_network_of_their_own_and_probes_reach_it(desk: PodmanDesk) -> None:
    script = "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    await desk.start(script)
    beside = desk.order("until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done", attempt=1)
    await desk.runtime.start(beside)
    assert (await desk.exit(beside)).code == 0
    assert desk.says(beside)[-1] == "hello"
    address = desk.runtime.address("u1")
    assert address.count(".") == 3

    async def exec(command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
        raise AssertionError("no exec probe here")

    probe = Handler(http_get=HttpGet(8080))
    assert await call(probe, beside.container, exec, 30.0, address) == ""


async def test_on_the_machines_network_a_pod_has_no_address_of_its_own(desk: PodmanDesk) -> None:
    pod = desk.pod("exit 0")
    pod = type(pod)(pod.metadata, type(pod.spec)(pod.spec.containers, host_network=True))
    order = desk.order("exit 0", pod=pod)
    await desk.runtime.prepare(pod)
    await desk.runtime.start(order)
    assert (await desk.exit(order)).code == 0
    assert desk.runtime.address("u1") == ""


async def test_when_conmon_is_killed_its_container_is_ended_and_said_to_be(
    desk: PodmanDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_gateway.edged.podman.SETTLE_S", 0.5)
    order = await desk.start("sleep 1000")
    [container] = await Podman(desk.folder / "podman").inspect("test_u1_c_0")
    os.kill(container.state.conmon_pid, signal.SIGKILL)
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (137, "ContainerStatusUnknown")
    assert (await desk.exit(await desk.start("exit 5", attempt=1))).code == 5


async def test_a_container_that_somebody_removed_has_ended(desk: PodmanDesk, podman_storage: PodmanStorage) -> None:
    order = await desk.start("sleep 1000")
    await asyncio.to_thread(podman_storage, "rm", "--force", "--time", "0", "test_u1_c_0")
    exit = await desk.exit(order)
    assert exit.code == 137


async def test_a_sandbox_that_fell_is_made_anew(desk: PodmanDesk, podman_storage: PodmanStorage) -> None:
    order = desk.order("exit 4")
    await desk.runtime.prepare(order.pod)
    await asyncio.to_thread(podman_storage, "kill", "test_u1_sandbox")
    await desk.runtime.prepare(order.pod)
    await desk.runtime.start(order)
    assert (await desk.exit(order)).code == 4


async def test_what_was_asked_for_before_edgecore_was_killed_is_taken_over(desk: PodmanDesk) -> None:
    again = PodmanDesk(desk.folder)
    assert await again.open() == []
    order = await desk.start("sleep 1000")  # podman was still at it when the next edgecore looked
    await desk.runtime.close()
    at = await again.runtime.start(order)
    await again.runtime.signal(order.id, signal.SIGKILL, everything=True)
    assert (await again.exit(order)).at >= at
    await again.end()


async def test_after_a_power_cut_runs_have_ended_unseen(desk: PodmanDesk, podman_storage: PodmanStorage) -> None:
    ran = await desk.start("sleep 1000")
    done = await desk.start("exit 6", attempt=1)
    await desk.exit(done)
    await desk.runtime.close()
    await asyncio.to_thread(podman_storage.power_cut)
    again = PodmanDesk(desk.folder)
    found = {run.id: run.exit for run in await again.open()}
    assert found.get(ran.id) is None or found[ran.id].reason == "ContainerStatusUnknown"  # type: ignore[union-attr]
    assert (exit := found[done.id]) is not None
    assert exit.code == 6
    await again.runtime.prepare(ran.pod)
    next_one = again.order("exit 0", attempt=2)
    await again.runtime.start(next_one)
    assert (await again.exit(next_one)).code == 0
    await again.end()


async def test_where_podman_has_lost_its_notes_what_ran_is_ended_and_started_anew(
    desk: PodmanDesk, podman_storage: PodmanStorage
) -> None:
    order = await desk.start("sleep 1000")
    [container] = await Podman(desk.folder / "podman").inspect("test_u1_c_0")
    await desk.runtime.close()
    await asyncio.to_thread(podman_storage.power_cut, processes=False)
    left = psutil.Process(container.state.pid)
    again = PodmanDesk(desk.folder)
    found = {run.id: run.exit for run in await again.open()}
    assert found.get(order.id) is None or found[order.id].reason == "ContainerStatusUnknown"  # type: ignore[union-attr]
    await until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, "it does not run twice")
    next_one = await again.start("exit 3", attempt=1)
    assert (await again.exit(next_one)).code == 3
    await again.end()


async def test_an_image_that_is_not_there_and_may_not_be_pulled(desk: PodmanDesk) -> None:
    order = desk.order("true", image="localhost/nothing:1", imagePullPolicy="Never")
    await desk.runtime.prepare(order.pod)
    with pytest.raises(NotYet, match="is not present with pull policy of Never") as raised:
        await desk.runtime.start(order)
    assert raised.value.reason == "ErrImageNeverPull"


async def test_an_image_without_a_name_that_can_be(desk: PodmanDesk) -> None:
    with pytest.raises(NotYet) as raised:
        await desk.runtime.start(desk.order("true", image="Bad::name"))
    assert raised.value.reason == "InvalidImageName"


async def test_an_image_of_root_is_not_run_where_that_must_not_be(desk: PodmanDesk) -> None:
    with pytest.raises(NotYet, match="image will run as root") as raised:
        await desk.runtime.start(desk.order("true", securityContext={"runAsNonRoot": True}))
    assert raised.value.reason == "CreateContainerConfigError"


async def test_a_command_beside_a_container_that_has_ended_says_so(desk: PodmanDesk) -> None:
    order = await desk.start("exit 0")
    await desk.exit(order)
    with pytest.raises(CannotStart, match="exec: can only create exec sessions on running containers"):
        await desk.runtime.exec(order, ("true",), 30.0)


async def test_nothing_of_a_pod_is_left_when_it_is_gone(desk: PodmanDesk, podman_storage: PodmanStorage) -> None:
    order = await desk.start("sleep 1000")
    await desk.runtime.remove("u1")
    await desk.exit(order)
    await desk.runtime.forget(order.id)
    left = await asyncio.to_thread(podman_storage, "ps", "--all", "--quiet")
    pods = await asyncio.to_thread(podman_storage, "pod", "ls", "--quiet")
    await until(lambda: (left, pods) == ("", ""), "nothing is left")


async def test_a_pull_that_fails_is_told_and_waits_before_the_next(desk: PodmanDesk) -> None:
    order = desk.order("true", image="127.0.0.1:1/app:1")
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        with pytest.raises(NotYet) as raised:
            await desk.runtime.start(order)
        assert raised.value.reason == reason
    assert [reason for reason, _ in desk.told] == ["Pulling", "Failed", "BackOff"]
    assert "connection refused" in desk.told[1][1]


async def test_an_image_is_pulled_with_what_the_pods_secret_has(
    desk: PodmanDesk, podman_storage: PodmanStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = desk.folder / "image"
    await asyncio.to_thread(podman_storage, "save", "--format", "oci-dir", "--output", str(saved), desk.image)
    async with registry(saved, user="me", password="hunter2") as port:
        conf = desk.folder / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        image = f"127.0.0.1:{port}/app:1"
        container = {"name": "c", "image": image, "command": ["echo", "pulled"], "imagePullPolicy": "Always"}
        order = desk.order("", pod=a_pod(container), command=("echo", "pulled"))
        with pytest.raises(NotYet, match=r"unauthorized|authentication required") as raised:
            await desk.runtime.start(order)
        assert raised.value.reason == "ErrImagePull"

        again = PodmanDesk(desk.folder)  # which has nothing to wait for
        await again.open()
        login = {"auths": {f"127.0.0.1:{port}": {"username": "me", "password": "hunter2"}}}
        data = {".dockerconfigjson": base64.b64encode(msgspec.json.encode(login)).decode()}
        again.secrets[Resource("default", SECRET, "login")] = msgspec.json.encode({"data": data})
        order = again.order("", pod=a_pod(container, imagePullSecrets=[{"name": "login"}]), command=("echo", "pulled"))
        await again.runtime.start(order)
        await again.exit(order)
        assert again.says(order) == ["pulled"]
        assert [reason for reason, _ in again.told] == ["Pulling", "Pulled"]
        assert list((desk.folder / "memory").iterdir()) == []
        await again.end()
