"""`hedgerow up --demo --once`: the tour of the real thing, and one that fails."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.tests.running import Up, up
from hil_tests.conftest import missing

FIRST = "ok every device reports to Kubernetes"
STEPS = [
    FIRST,
    "ok the PLC's register follows its desired value",
    "ok and Kubernetes sees that",
    "ok the board's output follows its desired value",
    "ok and Kubernetes sees that",
    "ok the link to the cloud is cut, and Kubernetes notices",
    "ok meanwhile a value changes, and the gateway keeps it",
    "ok which Kubernetes cannot know",
    "ok the link is restored, and the newest value arrives",
    "ok and the node is ready again",
]


@dataclass
class Toured:
    """A folder after some tours, and what each said."""

    folder: Path
    runs: list[Up]
    setpoints: list[float]


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Toured:
    """Two tours in one folder."""
    toured = Toured(tmp_path_factory.mktemp("tour"), [], [])
    for _ in range(2):
        with up("--demo", "--once", "--data", toured.folder) as running:
            running.wait_for(FIRST)
            running.meet_family()
            assert running.ended(90) == 0, running.said
        toured.runs.append(running)
        toured.setpoints.append(json.loads((toured.folder / "plc.json").read_text())["boiler/setpoint"])
    return toured


@pytest.mark.timeout(180)
def test_every_step_comes_true_and_nothing_is_left_behind(toured: Toured) -> None:
    for running in toured.runs:
        said = running.said.splitlines()
        boards = not any(line.startswith("No boards: ") for line in said)
        steps = [line.rsplit(" (", 1)[0] for line in said if line.startswith("ok ")]
        assert steps == (STEPS if boards else STEPS[:3] + STEPS[5:])
        assert len(said) == len(steps) + (1 if boards else 2)  # no warning, no traceback
        assert running.left_behind() == []
    if not boards:
        missing("MicroPython, for the demo's boards")


def test_a_second_tour_sets_other_values_for_what_is_there_proves_nothing(toured: Toured) -> None:
    assert toured.setpoints == [71.5, 68.5]


@pytest.mark.timeout(120)
def test_values_of_an_earlier_run_do_not_count_and_the_step_that_fails_is_named(toured: Toured) -> None:
    with up("--demo", "--once", "--data", toured.folder, "--deadline", "3") as running:
        plc = running.child("hil_tests.bench.plc")
        plc.send_signal(signal.SIGSTOP)
        try:
            running.wait_for("failed")
            running.meet_family()
        finally:
            plc.send_signal(signal.SIGCONT)
        assert running.ended(30) == 1
    last = running.said.splitlines()[-1]
    assert last.startswith(
        "failed every device reports to Kubernetes: not within 3 s; default/boiler has not reported "
    )
    assert "Traceback" not in running.said
    assert running.left_behind() == []
