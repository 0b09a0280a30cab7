"""pytest on a bench: what is skipped, why a run fails for it, and what is kept of it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from hil_tests.bench.micropython_board import Unavailable, command
from hil_tests.conftest import missing

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests that are run with the plugin, by a process of its own."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\naddopts = -p hil_tests.bench.plugin -p no:cacheprovider -ra --strict-markers")
    return pytester


def needs_micropython() -> None:
    try:
        command()
    except Unavailable as error:
        missing(str(error))


def test_a_test_that_the_bench_cannot_serve_is_skipped_with_the_reason(run: pytest.Pytester) -> None:
    run.makefile(".yaml", desk="instruments:\n  plc: {kind: modbus-tcp, address: '192.0.2.1:502'}")
    run.makepyfile(
        """
        import pytest
        @pytest.mark.needs("board.reset")
        def test_one(board): raise AssertionError
        @pytest.mark.needs("modbus-tcp")
        def test_two(instrument): assert instrument.address == "192.0.2.1:502"
        @pytest.mark.needs("modbus-tcp", "instrument.faults")
        def test_three(instrument): raise AssertionError
        """
    )
    result = run.runpytest_subprocess("--bench", "desk.yaml")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*THE BENCH CANNOT: no part has board.reset (desk.yaml)*"])
    assert result.ret == 0


def test_a_run_on_the_default_bench_fails_when_it_skips_what_can_be_done(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        @pytest.mark.needs("serial")
        def test_one(): pytest.skip("not today")
        def test_two(): pytest.skip("this one is free to")
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*the run has failed*", "*test_one: not today*"])
    result.stdout.no_fnmatch_line("*test_two: this one is free to*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_what_no_emulation_can_do_and_what_the_machine_lacks_may_be_skipped(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        from hil_tests.conftest import missing
        @pytest.mark.needs("board.rom-loader", "board.uf2")
        def test_one(): raise AssertionError
        @pytest.mark.needs("serial")
        def test_two(): missing("a program")
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(skipped=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*THE BENCH CANNOT: no part has *", "*THIS MACHINE LACKS: a program*"])


def test_ci_must_have_what_the_emulations_need(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    run.makepyfile(
        """
        import dataclasses, pytest
        from hil_tests.bench import kinds
        lacking = dataclasses.replace(kinds.KINDS["serial"], programs=(("no-such-program", "no-such-package"),))
        kinds.KINDS["serial"] = lacking
        @pytest.mark.needs("serial")
        def test_one(): raise AssertionError
        """
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*run has failed*", "*serial needs no-such-program (apt install no-such-package)*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_word_that_is_no_capability_and_a_wrong_bench_end_the_run(run: pytest.Pytester) -> None:
    run.makepyfile("import pytest\n@pytest.mark.needs('board.rest')\ndef test_one(): pass")
    result = run.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_one: no capability 'board.rest'*"])
    run.makefile(".yaml", desk="boards:\n  a: {kind: nothing}")
    result = run.runpytest_subprocess("--bench", "desk.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*desk.yaml:2: boards.a.kind: no kind 'nothing'*"])


def test_a_report_keeps_what_the_parts_said_and_a_failing_test_shows_it(run: pytest.Pytester) -> None:
    needs_micropython()
    run.makepyfile(
        """
        import pytest
        @pytest.mark.needs("board.push", "board.power")
        def test_bad(board):
            board.push({"main.py": b"print('what <it> said')"})
            board.power_on()
            board.expect("said")
            raise AssertionError("no & good")
        @pytest.mark.needs("serial")
        def test_good(instrument):
            instrument.fault("silence")
        """
    )
    result = run.runpytest_subprocess("--bench-report", "kept")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Transcript of unix*", "what <it> said", "*bench report: *kept/index.html"])
    cases = {case.get("name"): case for case in ElementTree.parse(run.path / "kept/junit.xml").iter("testcase")}
    assert cases["test_bad"].find("failure") is not None
    assert cases["test_good"].find("failure") is None
    page = (run.path / "kept/index.html").read_text()
    assert "1 passed, 1 failed, 0 skipped" in page
    assert "no &amp; good" in page
    (log,) = (run.path / "kept/transcripts").glob("*test_bad/unix.log")
    assert "what <it> said" in log.read_text()
    assert log.relative_to(run.path / "kept").as_posix() in page


def test_what_is_kept_of_a_talkative_part_is_bounded(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        @pytest.mark.needs("serial")
        def test_one(instrument):
            instrument.transcript.write(b"x" * 3_000_000 + b"the end")
        """
    )
    run.runpytest_subprocess("--bench-report", "kept").assert_outcomes(passed=1)
    (log,) = (run.path / "kept/transcripts").glob("*/scale.log")
    assert log.stat().st_size <= 256 << 10
    assert log.read_bytes().endswith(b"the end")
