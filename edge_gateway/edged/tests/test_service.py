"""Pods run as real processes, and their status is what the cloud would be told: online, offline, and after restarts."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_gateway.edged.tests.node import Node, manifest, settings
from edge_gateway.pod_reports import PodReports
from edgewire import resource
from edgewire.resource import Resource

FROM_SETTINGS = [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


async def test_a_pod_runs_and_is_ready(node: Node) -> None:
    node.pod("echo hello; exec sleep 1000", "exec sleep 1000")
    await node.until_phase("Running")
    await node.until(lambda: node.status()["conditions"][2]["status"] == "True", "it is ready")
    await node.until(lambda: node.says() == ["hello"], "it speaks")
    assert [c["name"] for c in node.status()["containerStatuses"]] == ["c0", "c1"]
    assert node.status()["containerStatuses"][0]["containerID"] == "process://u1/c0/0"
    assert node.status()["podIP"] == "192.168.1.17"
    assert ("Started", "Started container c0") in node.events()


async def test_a_pod_that_ends_has_ended_for_good(node: Node) -> None:
    node.pod("exit 0", restartPolicy="Never")
    await node.until_phase("Succeeded")
    again = await node.restarted()
    try:
        assert again.status()["phase"] == "Succeeded"
        assert again.says(attempt=1) == []
    finally:
        await again.end()


async def test_a_crash_is_restarted_and_then_backed_off(node: Node) -> None:
    node.pod("echo try; exit 5")
    await node.until(lambda: "BackOff" in dict(node.events()), "it waits")
    [container] = node.status()["containerStatuses"]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert (container["restartCount"], container["lastState"]["terminated"]["exitCode"]) == (1, 5)
    assert (node.says(attempt=0), node.says(attempt=1)) == (["try"], ["try"])


async def test_a_deleted_pod_is_stopped_and_then_said_to_be_finished(node: Node) -> None:
    pod = node.pod("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    await node.until(lambda: node.says() == ["up"], "it runs")
    node.delete(pod)
    await node.until(lambda: node.told()["finished"], "it has stopped")
    assert node.says() == ["up", "bye"]
    assert node.status()["phase"] == "Succeeded"
    assert node.alive() == 0
    node.gone(pod)
    await node.until(lambda: not (node.logs / "default_web_u1").exists(), "nothing is left of it")
    assert node.told() == {}
    assert list(node.store.read("pod")) == []


async def test_a_pod_that_is_gone_in_the_cloud_at_once_is_stopped_all_the_same(node: Node) -> None:
    pod = node.pod()
    await node.until_phase("Running")
    node.gone(pod)
    await node.until(lambda: node.alive() == 0, "it has stopped")
    await node.until(lambda: list(node.store.read("pod")) == [], "it is forgotten")


async def test_a_pod_made_again_under_its_name_is_another(node: Node) -> None:
    node.pod("exec sleep 1000", uid="u1")
    await node.until_phase("Running")
    node.pod("echo second; exec sleep 1000", uid="u2")
    await node.until(lambda: node.says(uid="u2") == ["second"], "the second runs")
    await node.until(lambda: node.alive() == 1, "the first has stopped")
    assert node.told()["uid"] == "u2"


async def test_edgecore_comes_back_and_finds_its_pods_running(node: Node) -> None:
    node.pod("echo $$; exec sleep 1000")
    await node.until(lambda: node.says(), "it speaks")
    await node.until_phase("Running")
    before = node.status()
    again = await node.restarted()
    try:
        assert again.status() == before
        assert again.alive() == 1
        assert len(again.says()) == 1
        assert again.says(attempt=1) == []
    finally:
        await again.end()


async def test_a_pod_that_crashed_while_edgecore_was_away_is_restarted_with_its_exit_code(node: Node) -> None:
    flag = node.folder / "flag"
    node.pod(f"[ -e {flag} ] && exec sleep 1000; echo up; until [ -e {flag} ]; do sleep 0.01; done; exit 9")
    await node.until_phase("Running")
    await node.until(lambda: node.says() == ["up"], "it has looked for the flag")
    await node.stop()
    flag.touch()
    await node.until(lambda: node.alive() == 0, "it crashed")
    again = await node.restarted()
    try:
        await again.until(lambda: again.status()["containerStatuses"][0]["restartCount"] == 1, "it is restarted")
        assert again.status()["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 9
        runs = again.folder / "processes" / "runs"
        await again.until(
            lambda: [note.name for note in runs.glob("*.json")] == ["u1_c0_1.json"], "the end is forgotten"
        )
    finally:
        await again.end()


async def test_a_pod_that_was_deleted_while_edgecore_was_away_is_stopped_when_it_is_back(node: Node) -> None:
    pod = node.pod()
    kept = node.pod(name="kept", uid="u2")
    await node.until_phase("Running")
    await node.until_phase("Running", "kept")
    await node.stop()
    node.gone(pod)
    again = await node.restarted()
    try:
        await again.until(lambda: again.alive() == 1, "it has stopped")
        assert again.status("kept")["phase"] == "Running"
        assert again.told() == {}
        assert kept["metadata"]["uid"] == "u2"
    finally:
        await again.end()


async def test_after_a_power_cut_pods_come_back_from_the_store(node: Node) -> None:
    node.send("configmap", settings(level="info"))
    pod = manifest("web", "u1", "echo $LEVEL; exec sleep 1000")
    pod["spec"]["containers"][0]["env"] = FROM_SETTINGS
    node.send("pod", pod)
    await node.until(lambda: node.says() == ["info"], "it runs")
    await node.end()
    for note in (node.folder / "processes" / "runs").iterdir():
        note.write_text(note.read_text().replace('"boot": "', '"boot": "another '))
    again = await node.restarted()
    try:
        await again.until(lambda: again.says(attempt=1) == ["info"], "it runs again")
        [container] = again.status()["containerStatuses"]
        assert container["restartCount"] == 1
        assert container["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    finally:
        await again.end()


async def test_a_pod_waits_for_its_config_map_and_runs_when_it_comes(node: Node) -> None:
    pod = manifest("web", "u1", "echo $LEVEL; exec sleep 1000")
    pod["spec"]["containers"][0]["env"] = FROM_SETTINGS
    node.send("pod", pod)
    await node.until(lambda: "Failed" in dict(node.events()), "it says what is missing")
    waiting = node.status()["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
    node.send("configmap", settings(level="debug"))
    await node.until(lambda: node.says() == ["debug"], "it runs")
    assert node.status()["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts volumes")
async def test_a_file_of_a_config_map_changes_under_a_running_pod(node: Node) -> None:
    path = node.folder / "seen"
    pod = manifest("web", "u1", f"while :; do cat {path}/level; echo; sleep 0.05; done")
    pod["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "settings"}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": str(path)}]
    node.send("pod", pod)
    await node.until(lambda: "FailedMount" in dict(node.events()), "it says what is missing")
    node.send("configmap", settings(level="info"))
    await node.until(lambda: "info" in node.says(), "it reads the file")
    node.send("configmap", settings(level="debug"))
    await node.until(lambda: "debug" in node.says(), "it reads the change")
    assert node.status()["containerStatuses"][0]["restartCount"] == 0


async def test_a_pod_that_cannot_run_here_fails_with_all_the_reasons(node: Node) -> None:
    pod = manifest()
    del pod["spec"]["containers"][0]["command"]
    pod["spec"]["volumes"] = [{"name": "v", "nfs": {"server": "x", "path": "/"}}]
    node.send("pod", pod)
    await node.until_phase("Failed")
    assert node.status()["reason"] == "UnsupportedPod"
    assert "has no `command`" in node.status()["message"]
    assert "volume 'v'" in node.status()["message"]
    assert "UnsupportedPod" in dict(node.events())
    node.delete(pod)
    await node.until(lambda: node.told()["finished"], "it can be deleted")


async def test_a_pod_that_cannot_be_read_fails_and_harms_nobody(node: Node) -> None:
    good = node.pod(name="good", uid="u2")
    bad = manifest()
    bad["spec"]["containers"][0]["command"] = "not a list"
    node.send("pod", bad)
    await node.until_phase("Failed")
    assert node.status()["reason"] == "InvalidPod"
    assert "command" in node.status()["message"]
    await node.until_phase("Running", good["metadata"]["name"])
    node.delete(bad)
    assert node.told()["finished"]


async def test_a_command_that_does_not_exist_is_said_so(node: Node) -> None:
    pod = manifest(restartPolicy="Never")
    pod["spec"]["containers"][0]["command"] = ["no-such-command"]
    node.send("pod", pod)
    await node.until_phase("Failed")
    ended = node.status()["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 127)
    assert "no-such-command" in ended["message"]


async def test_a_liveness_probe_in_the_container_restarts_it(node: Node) -> None:
    pod = manifest("web", "u1", "exec sleep 1000", terminationGracePeriodSeconds=0)
    check = {"exec": {"command": ["sh", "-c", "echo ill; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    pod["spec"]["containers"][0]["livenessProbe"] = check
    node.send("pod", pod)
    await node.until(lambda: node.status()["containerStatuses"][0]["restartCount"] == 1, "it is restarted")
    assert ("Unhealthy", "Liveness probe failed: ill") in node.events()
    assert node.status()["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


async def test_a_probe_goes_on_when_the_config_map_of_its_container_is_deleted(node: Node) -> None:
    node.send("configmap", settings(level="info"))
    pod = manifest("web", "u1", "exec sleep 1000", terminationGracePeriodSeconds=0)
    seen = node.folder / "seen"
    check = {"exec": {"command": ["sh", "-c", f"echo $LEVEL >> {seen}"]}, "periodSeconds": 1, "failureThreshold": 1}
    pod["spec"]["containers"][0] |= {"env": FROM_SETTINGS, "livenessProbe": check}
    node.send("pod", pod)
    await node.until(seen.exists, "it is probed")
    node.gone(settings(level="info"), "configmap")
    before = len(seen.read_text().splitlines())
    await node.until(lambda: len(seen.read_text().splitlines()) > before + 1, "it is probed again")
    assert set(seen.read_text().splitlines()) == {"info"}
    assert node.status()["containerStatuses"][0]["restartCount"] == 0


async def test_what_happened_offline_is_there_to_be_told(node: Node) -> None:
    node.pod("exit 3", restartPolicy="Never")
    await node.until_phase("Failed")
    reports: PodReports = node.core.pods
    assert "default/podstatus/web" in reports.dirty_keys()
    assert "default/podstatus/web" in node.marked
    again = await node.restarted()
    try:
        assert again.status()["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    finally:
        await again.end()


async def test_a_keeper_that_hangs_keeps_nobody_waiting_and_is_waited_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.pod("exec sleep 1000")
    await node.until_phase("Running")
    monkeypatch.setattr("edge_gateway.edged.keeper_link.START_S", 0.3)
    [keeper] = node.keepers()
    await node.stop()
    keeper.suspend()
    try:
        again = await node.restarted()
        assert again.told() == {}
    finally:
        keeper.resume()
    try:
        await again.until_phase("Running")
        assert again.alive() == 1
        assert again.says(attempt=1) == []
    finally:
        await again.end()


async def test_a_probe_that_hangs_and_a_container_that_crashes_harm_nobody_else(node: Node) -> None:
    hangs = manifest("hangs", "u1", "exec sleep 1000", terminationGracePeriodSeconds=0)
    probe = {"exec": {"command": ["sleep", "1000"]}, "timeoutSeconds": 1, "periodSeconds": 1, "failureThreshold": 1}
    hangs["spec"]["containers"][0]["livenessProbe"] = probe
    node.send("pod", hangs)
    node.pod("exit 1", name="crashes", uid="u2")
    node.pod("while :; do echo on; sleep 0.05; done", name="good", uid="u3")
    await node.until(lambda: ("Unhealthy", "Liveness probe failed: timed out after 1s") in node.events(), "it hangs")
    await node.until(lambda: node.status("hangs")["containerStatuses"][0]["restartCount"] == 1, "it is restarted")
    await node.until(lambda: "BackOff" in dict(node.events()), "the other is backed off")
    said = len(node.says(name="good", uid="u3"))
    await node.until(lambda: len(node.says(name="good", uid="u3")) > said, "the good one goes on")
    assert node.status("good")["containerStatuses"][0]["restartCount"] == 0


async def test_pods_beyond_what_the_node_takes_are_turned_away_and_none_that_runs(tmp_path: Path) -> None:
    node = await Node(tmp_path, max_pods=1).start()
    try:
        first = node.pod()
        await node.until_phase("Running")
        node.pod(name="more", uid="u2")
        await node.until_phase("Failed", "more")
        assert (node.status("more")["reason"], node.alive()) == ("OutOfpods", 1)
        await node.stop()
        node = await Node(tmp_path, node.store, max_pods=1).start()
        assert (node.status()["phase"], node.status("more")["reason"]) == ("Running", "OutOfpods")
        node.gone(first)
        await node.until(lambda: node.alive() == 0, "the first is gone")
        node.pod(name="next", uid="u3")
        await node.until_phase("Running", "next")
    finally:
        await node.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
async def test_a_full_disk_is_told_and_other_pods_keep_running(node: Node) -> None:
    node.pod("while :; do echo on; sleep 0.05; done", name="good", uid="u2")
    await node.until_phase("Running", "good")
    (node.folder / "disk").mkdir(exist_ok=True)
    await asyncio.to_thread(mount_small, node.folder / "disk")
    try:
        (node.folder / "disk" / "fill").write_bytes(bytes(1024))
        pod = manifest()
        pod["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": str(node.folder / "seen")}]
        node.send("pod", pod)
        await node.until(lambda: "No space left on device" in dict(node.events()).get("FailedMount", ""), "it says so")
        assert node.status("good")["phase"] == "Running"
        (node.folder / "disk" / "fill").unlink()
        node.edged.objects_changed([Resource("default", resource.CONFIGMAP, "any")])
        await node.until_phase("Running")
    finally:
        await node.end()
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(node.folder / "disk")], check=True)


def mount_small(folder: Path) -> None:
    """A disk with room for one file."""
    options = ["-t", "tmpfs", "-o", "size=8k,nr_inodes=3", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
