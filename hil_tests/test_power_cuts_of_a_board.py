"""The power fails while a board is updated, at erase and program steps of its flash: it always starts, and only what was signed.

Forty steps of a whole update, each time the same ones, of which `make bench` takes a thousand at random; each single step of the
download of a small image, and of a trial. device_fw/tests/test_power_cuts.py goes through every step that the updater takes, on a
plain folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.bench.power_cuts import PowerCuts, Tally
from hil_tests.bench.unix_board import Unavailable
from hil_tests.conftest import missing

CUTS = 40


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[PowerCuts]:
    """A board that is about to be updated."""
    try:
        found = PowerCuts(tmp_path / "cuts", seed=5)
    except Unavailable as error:
        missing(str(error))
        raise
    try:
        yield found
    finally:
        found.close()


def assert_all_well(tally: Tally) -> None:
    assert tally.untrue == []
    assert set(tally.ended) <= {"1.1.0 confirmed none", "1.0.0 reverted not-confirmed"}, tally.ended


@pytest.mark.timeout(180)
def test_whenever_the_power_fails_a_whole_signed_image_runs(bench: PowerCuts) -> None:
    bench.prepare()
    tally = bench.run(CUTS)
    assert_all_well(tally)
    assert tally.starts >= 2 * CUTS
    assert tally.ended["1.1.0 confirmed none"] > CUTS // 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize("state", ["armed", "trying"])
def test_no_step_of_a_trial_is_one_too_many(bench: PowerCuts, state: str) -> None:
    bench.prepare()
    tally = bench.everywhere(state)
    assert_all_well(tally)
    assert tally.cuts >= 5


@pytest.mark.timeout(300)
def test_no_step_of_a_download_is_one_too_many(bench: PowerCuts) -> None:
    bench.prepare_download()
    tally = bench.everywhere_in_download()
    assert tally.untrue == []
    assert tally.cuts > 30
