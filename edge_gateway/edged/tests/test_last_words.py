"""What a container says of its end is in its pod's status, within a kubelet's limits, and over a restart of edgecore."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.last_words import LastWords
from edge_gateway.edged.runtime import Exit, RunId, StartOrder
from edge_gateway.edged.tests.bench import a_container, a_pod
from edge_gateway.edged.tests.node import Node, manifest

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
ID = RunId("u1", "c", 0)
FAILED = Exit(1, 0.0)


class Desk:
    """One container's words, without a container."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.pod = a_pod(a_container(**more))
        self.words = LastWords(folder / "disk")
        self.log = folder / "log"

    def make(self, attempt: int = 0) -> Path:
        """An attempt begins: its file."""
        container = self.pod.spec.containers[0]
        file = self.words.make(StartOrder(ID._replace(attempt=attempt), self.pod, container, ("true",), {})).message
        assert file is not None
        return file

    def said(self, exit: Exit = FAILED, attempt: int = 0) -> str:
        container = self.pod.spec.containers[0]
        return self.words.with_message(ID._replace(attempt=attempt), container, exit, self.log).message


def test_the_end_of_the_file_is_the_message_and_each_attempt_has_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first = desk.make()
    assert (first.read_bytes(), first.stat().st_mode & 0o777) == (b"", 0o666)
    assert desk.said() == ""
    first.write_text("a" * 100 + "b" * 4096)
    assert desk.said() == "b" * 4096
    first.write_bytes(b"\xff!")
    assert desk.said(Exit(0, 0.0)) == "\ufffd!"
    second = desk.make(1)
    assert desk.said(attempt=1) == ""
    assert (first.exists(), second.exists()) == (False, True)


def test_why_a_command_could_not_be_run_is_not_replaced(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make().write_text("old")
    assert desk.said(Exit(127, 0.0, "StartError", "no such command")) == "no such command"


def test_the_log_stands_in_for_a_message_of_what_failed_if_that_is_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, terminationMessagePolicy="FallbackToLogsOnError")
    assert desk.said() == ""
    time = "2026-01-01T00:00:00.000000000Z"
    desk.log.write_text(f"{time} stdout F no\n{time} stderr P val\n{time} stderr F ve\n")
    assert desk.said() == "no\nvalve\n"
    assert desk.said(Exit(0, 0.0)) == ""
    desk.log.write_text("".join(f"{time} stdout F {number}\n" for number in range(1000)))
    assert desk.said().splitlines() == [str(number) for number in range(920, 1000)]
    desk.log.write_text(f"{time} stdout F begin\n" + f"{time} stdout F {'x' * 999}\n" * 100)
    assert len(desk.said()) == 2048
    desk.make().write_text("own")
    assert desk.said() == "own"


def test_a_container_is_started_where_there_is_no_room_for_its_message(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("no folder")
    desk = Desk(tmp_path)
    order = StartOrder(ID, desk.pod, desk.pod.spec.containers[0], ("true",), {})
    assert desk.words.make(order).message is None
    assert desk.said() == ""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


@root
async def test_two_pods_say_different_things_at_one_path(node: Node) -> None:
    for name, uid in (("web", "u1"), ("other", "u2")):
        script = f"echo {name} ends > /dev/termination-log; exit 3"
        node.pod(script, name=name, uid=uid, restartPolicy="Never")
    await node.until_phase("Failed")
    await node.until_phase("Failed", "other")
    for name in ("web", "other"):
        ended = node.status(name)["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", f"{name} ends\n")


@root
async def test_what_was_said_while_edgecore_was_away_is_heard(node: Node) -> None:
    flag = node.folder / "flag"
    script = f"echo up; until [ -e {flag} ]; do sleep 0.01; done; echo late > /dev/termination-log; exit 4"
    node.pod(script, restartPolicy="Never")
    await node.until(lambda: node.says() == ["up"], "it runs")
    await node.stop()
    flag.touch()
    await node.until(lambda: node.alive() == 0, "it has ended")
    again = await node.restarted()
    try:
        assert again.status()["containerStatuses"][0]["state"]["terminated"]["message"] == "late\n"
    finally:
        await again.end()


async def test_a_crash_is_explained_by_the_log(node: Node) -> None:
    pod = manifest("web", "u1", "echo no valve; exit 5", restartPolicy="Never")
    pod["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
    node.send("pod", pod)
    await node.until_phase("Failed")
    assert node.status()["containerStatuses"][0]["state"]["terminated"]["message"] == "no valve\n"
