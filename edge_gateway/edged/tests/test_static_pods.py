"""Pods from files run without any cloud, follow their files, and harm nobody when one is bad."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from edge_gateway.edged.static_pods import FILE_LIMIT, StaticPodError, StaticPods, parse
from edge_gateway.edged.tests.node import Node
from edgewire import resource
from edgewire.resource import Resource

NAME = "web-edge1"
WAITS = "trap exit TERM; while :; do sleep 0.05; done"


def written(script: str = WAITS, name: str = "web", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c0", "image": "none", "command": ["sh", "-c", script]}]
    metadata = {"name": name, "labels": {"app": name}}
    spec = {"containers": containers, "terminationGracePeriodSeconds": 5, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def write(folder: Path, file: str, pod: dict[str, Any]) -> None:
    (folder / file).write_text(yaml.safe_dump(pod) if file.endswith("yaml") else json.dumps(pod))


def uid_of(node: Node, name: str = NAME) -> str:
    found: str = node.told(name).get("uid", "")
    return found


def mirror(node: Node, name: str = NAME) -> dict[str, Any]:
    """What the cloud makes of a static pod."""
    told = node.told(name)
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(told["manifest"]))
    made["metadata"] |= {"uid": "of-the-mirror", "annotations": {"kubernetes.io/config.mirror": told["uid"]}}
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    return folder


@pytest.fixture
async def node(tmp_path: Path, folder: Path) -> AsyncIterator[Node]:
    write(folder, "web.yaml", written("echo on; " + WAITS))
    node = await Node(tmp_path, static=folder).start()
    yield node
    await node.end()


def test_a_pod_is_named_after_its_node_and_its_content() -> None:
    found = parse("web.yaml", yaml.safe_dump(written()).encode(), "edge1")
    assert found.name == Resource("default", resource.POD, NAME)
    assert found.pod.metadata.labels == {"app": "web"}
    assert (found.pod.spec.node_name, len(found.pod.uid)) == ("edge1", 32)
    same = parse("web.yaml", json.dumps(written()).encode(), "edge1")
    others = [
        parse("other.yaml", json.dumps(written()).encode(), "edge1"),
        parse("web.yaml", json.dumps(written("exit 1")).encode(), "edge1"),
        parse("web.yaml", json.dumps(written()).encode(), "edge2"),
    ]
    assert same.pod.uid == found.pod.uid
    assert found.pod.uid not in [other.pod.uid for other in others]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a: [", "it cannot be read: "),
        (b"\xff\xfe\x00", "it cannot be read: "),
        (b"[" * 10_000, "it cannot be read: "),
        (b"x" * (FILE_LIMIT + 1), "more than 1048576 bytes"),
        (b"", "it has to be one Pod"),
        (b"kind: Deployment\napiVersion: apps/v1", "it has to be one Pod"),
        (json.dumps(written(name="Web")).encode(), "is no name of a pod"),
        (
            json.dumps({**written(), "metadata": {"name": "web", "namespace": "../x"}}).encode(),
            "no name of a namespace",
        ),
        (json.dumps({**written(), "metadata": {}}).encode(), "`metadata.name` None is no name"),
        (json.dumps(written(containers=[])).encode(), "it has no containers"),
        (json.dumps(written(containers=[{"name": "../c"}])).encode(), "'../c' is no name of a container"),
        (json.dumps(written(containers=[{"name": "c"}, {"name": "c"}])).encode(), "several containers of the name 'c'"),
        (json.dumps(written(containers="c")).encode(), "$.spec.containers"),
        (json.dumps(written(restartPolicy="Sometimes")).encode(), "no `restartPolicy` 'Sometimes'"),
        (json.dumps(written(serviceAccountName="a")).encode(), "this one has serviceAccountName"),
        (json.dumps(written(volumes=[{"name": "v", "secret": {"secretName": "a"}}])).encode(), "this one has secret"),
    ],
)
def test_a_bad_file_is_told_what_is_wrong_with_it(content: bytes, why: str) -> None:
    with pytest.raises(StaticPodError) as raised:
        parse("web.yaml", content, "edge1")
    assert why in str(raised.value)


def test_what_is_still_being_written_is_not_taken(folder: Path) -> None:
    static = StaticPods(folder, "edge1")
    assert static.look(first=True).pods == {}
    write(folder, "web.json", written())
    assert static.look().pods == {}
    assert len(static.look().pods) == 1
    (folder / "web.json").write_text("{")
    assert len(static.look().pods) == 1
    [(file, why)] = static.look().problems
    assert (file, "it cannot be read" in why) == ("web.json", True)
    assert static.look().problems == []
    assert len(static.look().pods) == 1
    (folder / "web.json").unlink()
    assert static.look().pods == {}


@pytest.mark.parametrize("later", ["a.json", "z.json"])
def test_two_files_of_one_name_are_one_pod_and_the_first_that_came_has_it(folder: Path, later: str) -> None:
    static = StaticPods(folder, "edge1")
    write(folder, "m.json", written("exit 1"))
    before = static.look(first=True).pods
    write(folder, later, written("exit 2"))
    static.look()
    look = static.look()
    assert look.pods == before
    assert look.problems == [(later, "m.json has a pod of this name already: default/web-edge1")]


def test_other_files_and_folders_are_none(folder: Path) -> None:
    for name in (".hidden.yaml", "web.yaml~", "README"):
        (folder / name).write_text("nonsense")
    (folder / "deep.yaml").mkdir()
    look = StaticPods(folder, "edge1").look(first=True)
    assert (look.pods, look.problems) == ({}, [])
    assert StaticPods(folder / "missing", "edge1").look(first=True).pods == {}


async def test_a_static_pod_runs_with_no_cloud_ever_seen(node: Node) -> None:
    await node.until_phase("Running", NAME)
    uid = uid_of(node)
    await node.until(lambda: node.says(name=NAME, uid=uid) == ["on"], "it speaks")
    told = node.told(NAME)
    assert told["manifest"]["metadata"] == {"name": NAME, "namespace": "default", "labels": {"app": "web"}, "uid": uid}
    assert told["manifest"]["spec"]["nodeName"] == "edge1"
    again = await node.restarted()
    try:
        assert again.status(NAME)["phase"] == "Running"
        assert (uid_of(again), again.alive()) == (uid, 1)
        assert again.says(attempt=1, name=NAME, uid=uid) == []
    finally:
        await again.end()


async def test_a_mirror_is_not_run_and_its_deletion_stops_nothing(node: Node) -> None:
    await node.until_phase("Running", NAME)
    shown = mirror(node)
    node.send("pod", shown)
    content = node.core.content_of(Resource("default", resource.POD, NAME)) or b""
    assert msgspec.json.decode(content)["metadata"]["uid"] == uid_of(node)
    node.delete(shown, grace_s=0)
    node.gone(shown)
    await node.until_phase("Running", NAME)
    assert node.alive() == 1
    assert uid_of(node) == shown["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    assert node.status(NAME)["containerStatuses"][0]["restartCount"] == 0


async def test_a_changed_file_ends_its_pod_before_it_starts_the_new_one(node: Node, folder: Path) -> None:
    alone = f"exec 9>>{folder.parent}/lock; flock -n 9 || {{ echo two at once; exit 1; }}"
    both = f"{alone}; echo on; trap 'sleep 0.3; exit' TERM; while :; do sleep 0.05; done"
    write(folder, "web.yaml", written(both))
    await node.until(lambda: node.alive() == 1 and uid_of(node) != "", "it runs")
    first = uid_of(node)
    await node.until(lambda: uid_of(node) not in ("", first), "the second is there")
    second = uid_of(node)
    await node.until(lambda: node.says(name=NAME, uid=second) == ["on"], "the second runs")
    write(folder, "web.yaml", written(both + "; true"))
    await node.until(lambda: uid_of(node) not in ("", first, second), "the third is there")
    await node.until(lambda: node.says(name=NAME, uid=uid_of(node)) == ["on"], "the third runs")
    assert node.alive() == 1


async def test_a_removed_file_stops_its_pod_and_the_cloud_is_told_until_it_knows(node: Node, folder: Path) -> None:
    await node.until_phase("Running", NAME)
    (folder / "web.yaml").unlink()
    await node.until(lambda: node.told(NAME).get("finished"), "it has stopped")
    assert node.alive() == 0
    await node.until(lambda: list(node.store.read("pod")) == [], "nothing is left of it")
    node.core.pods.message_for(f"default/podstatus/{NAME}")
    node.core.pods.delivered(f"default/podstatus/{NAME}")
    assert node.told(NAME) == {}
    write(folder, "web.yaml", written("echo on; " + WAITS))
    await node.until(lambda: node.alive() == 1, "the same file back is the same pod, begun anew")


async def test_a_file_removed_while_edgecore_was_away_takes_pod_and_mirror_with_it(node: Node, folder: Path) -> None:
    await node.until_phase("Running", NAME)
    shown = mirror(node)
    node.send("pod", shown)
    await node.stop()
    (folder / "web.yaml").unlink()
    again = await node.restarted()
    try:
        assert again.told(NAME)["finished"]
        assert again.told(NAME)["uid"] == shown["metadata"]["annotations"]["kubernetes.io/config.mirror"]
        await again.until(lambda: again.alive() == 0, "it has stopped")
    finally:
        await again.end()


async def test_a_bad_file_is_told_and_harms_no_other(node: Node, folder: Path) -> None:
    await node.until_phase("Running", NAME)
    before = uid_of(node)
    (folder / "bad.yaml").write_text("kind: Pod")
    (folder / "web.yaml").write_text("{")
    await node.until(lambda: len(node.events("InvalidStaticPod")) == 2, "both are told")
    said = dict(message.split(": ", 1) for _, message in node.events("InvalidStaticPod"))
    assert said["bad.yaml"].startswith("it has to be one Pod")
    assert said["web.yaml"].startswith("it cannot be read")
    assert (uid_of(node), node.alive(), node.status(NAME)["phase"]) == (before, 1, "Running")
    write(folder, "bad.yaml", written(name="good"))
    await node.until_phase("Running", "good-edge1")


async def test_what_this_node_cannot_give_a_static_pod_is_refused_as_to_others(node: Node, folder: Path) -> None:
    write(folder, "other.yaml", written(name="other", hostPID=True, containers=[{"name": "c"}]))
    await node.until_phase("Failed", "other-edge1")
    assert node.status("other-edge1")["reason"] == "UnsupportedPod"
    (folder / "other.yaml").unlink()
    await node.until(lambda: node.told("other-edge1").get("finished"), "it goes with its file")
