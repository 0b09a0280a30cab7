"""`hedgerow up` in a terminal: what it shows, and that no way to end it leaves anything behind."""

import fcntl
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from hedgerow.signals import IMPATIENT_AFTER_S
from hedgerow.tests.running import RUNNING, Up, up, up_in_terminal

ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def _ended_well(running: Up) -> None:
    assert running.ended() == 0, running.said
    assert "Traceback" not in running.said
    assert running.said.count(ENTER_SCREEN) == running.said.count(LEAVE_SCREEN)
    assert running.said.rfind(SHOW_CURSOR) >= running.said.rfind(HIDE_CURSOR)
    assert running.left_behind() == []


def test_ctrl_c_ends_the_live_table_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with up_in_terminal("--demo", "--data", tmp_path) as running:
        running.wait_for("online")
        running.wait_for(RUNNING)
        assert len(running.meet_family()) >= 5
        running.press_ctrl_c()
        _ended_well(running)
    assert running.said.count(ENTER_SCREEN) == 1
    assert "gateways  edge-1 linked" in running.plain
    assert "default/boiler   temperature" in running.plain


@pytest.mark.parametrize("seen", ["Starting in", "apiserver", "edgecore"])
def test_ctrl_c_while_it_starts_ends_it_too(tmp_path: Path, seen: str) -> None:
    modules = {"apiserver": "cloud.apiserver", "edgecore": "edgecore.yaml"}
    with up_in_terminal("--data", tmp_path) as running:
        running.wait_for("Starting in")
        if seen in modules:
            running.child(modules[seen])
        running.press_ctrl_c()
        _ended_well(running)
    assert not re.search("failed|hedgerow:", running.said)


def test_a_process_that_dies_is_told_below_the_table_and_comes_back(tmp_path: Path) -> None:
    with up_in_terminal("--data", tmp_path) as running:
        running.wait_for(RUNNING)
        before = running.child("mapper.yaml")
        before.kill()
        running.wait_for("process ended name=mapper")
        before.wait(5)
        assert running.child("mapper.yaml").pid != before.pid
        running.press_ctrl_c()
        _ended_well(running)


def test_an_impatient_second_ctrl_c_kills_what_does_not_stop(tmp_path: Path) -> None:
    with up_in_terminal("--data", tmp_path) as running:
        running.wait_for(RUNNING)
        broker = running.child("edgecore.yaml")
        broker.send_signal(signal.SIGSTOP)  # it hears no SIGTERM
        running.press_ctrl_c()
        mapper = running.child("mapper.yaml")
        psutil.wait_procs([mapper], 5)
        assert broker.is_running()
        time.sleep(IMPATIENT_AFTER_S)  # sooner it would be an echo
        running.press_ctrl_c()
        assert running.ended(4) == 0  # before the deadline for SIGTERM
        assert "Traceback" not in running.said
        assert running.left_behind() == []


def test_sigterm_ends_it_where_there_is_no_terminal(tmp_path: Path) -> None:
    with up("--data", tmp_path) as running:
        running.wait_for(RUNNING)
        assert len(running.meet_family()) == 4
        os.kill(running.process.pid, signal.SIGTERM)
        _ended_well(running)
    lines = running.said.splitlines()
    assert lines[0] == f"Starting in {tmp_path}"
    assert f"  export KUBECONFIG={tmp_path}/kubeconfig" in lines


def test_a_closed_terminal_ends_it(tmp_path: Path) -> None:
    with up_in_terminal("--data", tmp_path) as running:
        running.wait_for(RUNNING)
        running.meet_family()
        running.hang_up()
        assert running.ended() == 0
        assert running.left_behind() == []


def test_kill_9_takes_its_processes_with_it_and_frees_the_folder(tmp_path: Path) -> None:
    with up("--demo", "--data", tmp_path) as running:
        running.wait_for(RUNNING)
        assert len(running.meet_family()) >= 5
        running.process.kill()
        assert running.ended() == -signal.SIGKILL
        assert running.left_behind(10) == []
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_tour_that_is_interrupted_did_not_succeed(tmp_path: Path) -> None:
    with up("--demo", "--once", "--data", tmp_path) as running:
        running.wait_for("ok ")
        running.meet_family()
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.ended() == 128 + signal.SIGTERM
        assert running.left_behind() == []
