"""`hedgerow ota publish|rollout|status|…`: the real executable against a running stack with boards that play their part."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.objects import CONFIGMAPS
from device_fw.tools import image, signing
from edgewire import ota
from hedgerow.cluster import Cluster
from hedgerow.firmware import Firmware
from hedgerow.stack import until as until_so
from hedgerow.tests.running import COMMAND, RUNNING, up
from hil_tests.bench.played_board import PlayedBoard, manifests

NODE = "edge-1"
DEADLINE_S = 90.0
pytestmark = pytest.mark.timeout(240)  # a dozen commands a test, each a process of its own


@dataclass
class Answer:
    """What a command did."""

    status: int
    out: str
    complaint: str


@dataclass
class Running:
    """A stack with two boards of one site."""

    data: Path
    mqtt: int

    def ota(self, *arguments: str | Path) -> Answer:
        """Run `hedgerow ota`."""
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        done = subprocess.run(
            [*COMMAND, "ota", *map(str, arguments), "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=environment,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def boards(self, **behaviour: str) -> Iterator[list[PlayedBoard]]:
        """Both boards, online."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(PlayedBoard(self.mqtt, f"default/{name}", **behaviour))  # type: ignore[arg-type]
                for name in ("b1", "b2")
            ]

    def firmware(self) -> Firmware:
        """The API, past the command line."""
        return Firmware(self.data / "kubeconfig")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("stack") / "data"
    with up("--data", folder) as stack:
        stack.wait_for(RUNNING, DEADLINE_S)
        mqtt = int(stack.said.split("MQTT 127.0.0.1:")[1].split()[0])
        asyncio.run(_two_boards(folder / "kubeconfig"))
        yield Running(folder, mqtt)


async def _two_boards(kubeconfig: Path) -> None:
    async with Cluster(kubeconfig) as cluster:
        await cluster.apply(manifests(NODE, "b1", "b2", labels={"site": "north"}))
        changed = asyncio.Event()
        watching = asyncio.create_task(cluster.watch_devices(changed.set))
        async with asyncio.timeout(DEADLINE_S):
            while not all(_accepted(cluster, name) for name in ("b1", "b2")):
                changed.clear()
                await changed.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _accepted(cluster: Cluster, name: str) -> bool:
    view = cluster.devices.get(f"default/{name}")
    condition = view.condition("Accepted") if view is not None else None
    return condition is not None and condition.status == "True"


def bundle(folder: Path, version: str, size: int = 60_000) -> Path:
    """A signed firmware in a file."""
    key = signing.new_key()
    content = bytes(n * 7 % 251 for n in range(size))
    counter = image.counter_of(version)
    made = image.build(
        {"main.py": content}, version=version, counter=counter, board="unix", runtime="1.20", mpy="", arch="", key=key
    )
    image.save(made, folder / f"unix-{version}.hfw")
    return folder / f"unix-{version}.hfw"


def test_a_firmware_is_published_once_and_deleted_with_all_its_parts(running: Running, tmp_path: Path) -> None:
    file = bundle(tmp_path, "1.0.1", 130_000)
    first, again = running.ota("publish", file), running.ota("publish", file)
    assert (first.status, again.status) == (0, 0)
    assert again.out == first.out.strip() + ", as it was\n"
    name = first.out.partition(":")[0]

    async def remove() -> None:
        async with running.firmware() as firmware:
            kube = firmware._kube
            parts = [f"{CONFIGMAPS.path('default', name)}-{number:03d}" for number in range(3)]
            [stored] = {(await kube.get(path)).status for path in parts}
            assert stored == 200
            async with Cluster(running.data / "kubeconfig") as cluster:
                await cluster.delete(CONFIGMAPS, f"default/{name}")

            async def gone() -> bool:
                return {(await kube.get(path)).status for path in parts} == {404}

            await until_so(gone, lambda: "the parts are still there")

    asyncio.run(remove())


def test_a_rollout_is_waited_for_and_shown_per_device(running: Running, tmp_path: Path) -> None:
    file = bundle(tmp_path, "1.1.0")
    with running.boards():
        done = running.ota("rollout", file, "--model", "played-board", "--canary", "1", "--wait")
    assert (done.status, done.complaint) == (0, "")
    assert done.out.splitlines()[0] == "rollout unix-1.1.0 made: 1.1.0 for unix"
    assert "Complete wave 2/2 updated 2/2" in done.out.splitlines()[-1]
    devices = running.ota("status", "unix-1.1.0").out
    assert [line.split()[3:6] for line in devices.splitlines()[1:3]] == [["updated", "1.1.0"]] * 2
    everything = running.ota("status").out
    assert "unix-1.1.0" in everything
    assert "2 of 2 devices updated" in everything


def test_a_rollout_that_fails_ends_with_status_1_and_says_why(running: Running, tmp_path: Path) -> None:
    file = bundle(tmp_path, "1.2.0")
    with running.boards(outcome=ota.REVERTED, reason=ota.SELF_TEST):
        done = running.ota("rollout", file, "-l", "site=north", "--canary", "b2", "--name", "bad", "--wait")
        assert done.status == 1
        assert done.out.splitlines()[-1].startswith("Aborted wave 1/2 updated 0/2")
        rows = {line.split()[0]: line.split()[3:] for line in running.ota("status", "bad").out.splitlines()[1:3]}
        assert rows["b2"] == ["failed", "1.0.0", "self-test"]
        assert rows["b1"][0] == "pending"
        again = running.ota("retry", "bad")
        assert (again.status, again.out) == (0, "rollout bad tried again\n")
        assert running.ota("status", "bad", "--wait").status == 1


def test_a_rollout_is_paused_resumed_and_aborted(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(
        json.dumps(
            {"metadata": {"name": "steered"}, "spec": {"devices": {"names": ["b1", "b2"]}, "paused": True}},
        )
    )
    published = running.ota("publish", bundle(tmp_path, "1.3.0"))
    assert published.status == 0
    with running.boards() as boards:
        options = ("--canary", "b1", "--manual")
        assert running.ota("rollout", "unix-1.3.0", "-f", file, *options).out.startswith("rollout steered made")
        until(running, "steered", "Paused")
        assert not boards[0].offers
        assert running.ota("resume", "steered").status == 0
        until(running, "steered", "Waiting")
        assert boards[0].offers == ["1.3.0"]
        assert not boards[1].offers
        assert running.ota("pause", "steered").status == 0
        until(running, "steered", "Paused")
        assert running.ota("abort", "steered").status == 0
        until(running, "steered", "Aborted")
        assert running.ota("retry", "steered").status == 0
        until(running, "steered", "Waiting")
        assert running.ota("resume", "steered").status == 0
        until(running, "steered", "Complete")
        assert boards[1].offers == ["1.3.0"]


def until(running: Running, name: str, phase: str) -> None:
    """Wait until a rollout is in a phase."""

    async def wait() -> None:
        async with (
            running.firmware() as firmware,
            asyncio.timeout(DEADLINE_S),
            contextlib.aclosing(firmware.follow(name)) as changes,
        ):
            async for found in changes:
                if found.status.phase == phase and found.status.observed_generation == found.metadata.generation:
                    return

    asyncio.run(wait())


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["publish", "absent.hfw"], 1, "cannot read absent.hfw"),
        (["rollout", "9.9.9", "--model", "m"], 1, "9.9.9 is no published image; there are:"),
        (["rollout", "1.1.0"], 2, "which devices? --device, --model or --selector"),
        (["rollout", "1.1.0", "-l", "north"], 2, "'north' is not KEY=VALUE,…"),
        (["rollout", "1.1.0", "--model", "m", "--percent", "half"], 2, "'half' is not percents"),
        (["rollout", "1.1.0", "-f", "absent.yaml"], 2, "cannot read absent.yaml"),
        (["status", "nowhere"], 1, "cannot read rollout nowhere"),
        (["status", "--wait"], 2, "--wait needs a ROLLOUT"),
        (["pause", "nowhere"], 1, "cannot read rollout nowhere"),
    ],
)
def test_a_mistake_is_answered_with_one_line(running: Running, arguments: list[str], status: int, why: str) -> None:
    done = running.ota(*arguments)
    assert (done.status, done.out) == (status, "")
    [line] = done.complaint.splitlines()
    assert why in line


def test_a_selection_of_what_is_not_there_is_said_at_once(running: Running, tmp_path: Path) -> None:
    file = bundle(tmp_path, "1.0.3")
    done = running.ota("rollout", file, "--model", "played-boards", "--name", "misspelt")
    assert (done.status, done.out) == (0, "rollout misspelt made: 1.0.3 for unix\n")
    assert done.complaint == (
        "hedgerow: there is no device of the model played-boards; did you mean played-board? Models are: played-board\n"
    )
    done = running.ota("rollout", file, "--device", "b7", "-l", "site=south", "--canary", "b1,x", "--name", "misspelt")
    assert [line.partition(": ")[2] for line in done.complaint.splitlines()] == [
        "there is no device b7. Devices are: b1, b2",
        "there is no device with the label site=south; did you mean site=north? Labels are: site=north",
        "there is no device x. Devices are: b1, b2",
    ]
    assert running.ota("rollout", file, "--device", "b2", "--name", "misspelt").complaint == ""
    assert running.ota("abort", "misspelt").status == 0


def test_something_that_the_api_refuses_is_said_in_its_words(running: Running, tmp_path: Path) -> None:
    done = running.ota("rollout", bundle(tmp_path, "1.0.2"), "--model", "m", "--percent", "0", "--name", "odd")
    assert done.status == 1
    assert "spec.waves.percent" in done.complaint
