"""Another image for a container of a pod that is there already: it starts again with that one, as under a kubelet."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.pods import Pod
from edge_gateway.edged.runtime import RunId, Running
from edge_gateway.edged.tests.bench import Bench, a_container, a_pod
from edge_gateway.edged.tests.node import Node, manifest


def a_pod_of(image: str, **spec: Any) -> Pod:
    return a_pod(a_container(image=image), a_container("other"), **spec)


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_container_whose_image_changes_is_stopped_and_started_again_at_once(policy: str) -> None:
    bench = Bench(a_pod_of("app:1", restartPolicy=policy))
    bench.step()
    bench.reasons()
    bench.life.containers.redefine(a_pod_of("app:2", restartPolicy=policy))
    bench.step()
    assert bench.signals == [("c", signal.SIGTERM, False)]
    assert bench.told == [("Killing", "Container c definition changed, will be restarted")]
    bench.exit(code=0)
    assert bench.starts == [("c", 0), ("other", 0), ("c", 1)]
    assert bench.status["phase"] == "Running"
    bench.wait(60)
    assert len(bench.starts) == 3
    assert len(bench.signals) == 1


def test_what_has_ended_for_good_is_not_started_for_a_new_image() -> None:
    bench = Bench(a_pod_of("app:1", restartPolicy="Never"))
    bench.step()
    bench.exit(code=0)
    bench.life.containers.redefine(a_pod_of("app:2", restartPolicy="Never"))
    bench.wait(60)
    assert bench.starts == [("c", 0), ("other", 0)]


def test_a_container_that_waits_for_an_image_or_a_back_off_tries_the_new_one_at_once() -> None:
    bench = Bench(a_pod_of("app:1"))
    bench.step()
    for _ in range(2):
        bench.exit(code=1)
    assert bench.state()["waiting"]["reason"] == "CrashLoopBackOff"
    bench.life.containers.redefine(a_pod_of("app:2"))
    bench.step()
    assert bench.starts[-1] == ("c", 2)
    assert "running" in bench.state()


def test_an_image_that_changed_while_edgecore_was_away_counts_too() -> None:
    bench = Bench(a_pod_of("app:1"))
    bench.step()
    again = Bench(a_pod_of("app:2"), bench.restarted().life.record, mono=50.0, wall=bench.wall)
    runs = [Running(RunId("u1", name, 0), bench.wall) for name in ("c", "other")]
    again.life.adopt(runs, False, again.now)
    again.step()
    assert again.signals == [("c", signal.SIGTERM, False)]
    third = again.restarted()  # before it has stopped
    third.life.adopt(runs, False, third.now)
    third.step()
    assert third.signals == [("c", signal.SIGTERM, False)]


def test_what_an_older_edgecore_started_without_a_note_of_its_image_is_left_alone() -> None:
    bench = Bench(a_pod_of("app:1"))
    bench.step()
    again = bench.restarted()
    for record in again.life.record.containers.values():
        record.image = ""
    runs = [Running(RunId("u1", name, 0), bench.wall) for name in ("c", "other")]
    again.life.adopt(runs, False, again.now)
    again.step()
    assert again.signals == []


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


async def test_a_pod_that_the_cloud_changes_runs_anew(node: Node) -> None:
    script = "trap exit TERM; echo on; while :; do sleep 0.05; done"
    node.pod(script)
    await node.until(lambda: node.says() == ["on"], "it runs")
    pod = manifest("web", "u1", script)
    pod["spec"]["containers"][0]["image"] = "app:2"
    node.send("pod", pod)
    await node.until(lambda: node.says(attempt=1) == ["on"], "it runs again")
    await node.until(lambda: node.status()["containerStatuses"][0]["restartCount"] == 1, "it was started twice")
    assert node.status()["containerStatuses"][0]["image"] == "app:2"
