"""What pytest knows of the bench: `--bench FILE`, `@pytest.mark.needs("board.reset", "modbus-tcp")`, and a report of what was
said.

A test that needs what the bench does not have is skipped, with the reason. On the default bench, which is all emulated, a run
fails if it skipped anything that emulation on this machine could have done; in CI also if the machine lacks something for it.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hil_tests.bench import desk as desks
from hil_tests.bench.bench_file import BenchError, BenchFile, load
from hil_tests.bench.bench_report import BenchReport
from hil_tests.bench.boards import Board, Instrument
from hil_tests.bench.broker import BenchBroker
from hil_tests.bench.desk import Desk
from hil_tests.bench.mosquitto import MosquittoMissing

LACKS = "THIS MACHINE LACKS: "
"""How the reason begins when a test skips itself for want of a program or a package."""
_BENCH_LACKS = "THE BENCH CANNOT: "
_SHOWN = 8000  # characters of a failing test's transcripts


class BenchSession:
    """The bench of this run, and which tests went without it."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises UsageError for a bench's file that cannot be used."""
        given = config.getoption("--bench")
        self.is_default = given is None
        self._path = Path(given) if given else desks.DEFAULT
        self._described: BenchFile | None = None
        if given:
            self._load()
        folder = config.getoption("--bench-report")
        self.report = BenchReport(Path(folder)) if folder else None
        self.needs: dict[str, tuple[str, ...]] = {}
        self.wrongly_skipped: dict[str, str] = {}

    @property
    def described(self) -> BenchFile:
        """The bench's file; read when first asked for, because most tests do without."""
        return self._described or self._load()

    def _load(self) -> BenchFile:
        try:
            self._described = load(self._path)
        except BenchError as error:
            raise pytest.UsageError(str(error)) from error
        return self._described

    def choose(self, item: pytest.Item) -> None:
        """Let a test run, or be skipped with the reason."""
        needs = tuple(dict.fromkeys(name for mark in item.iter_markers("needs") for name in mark.args))
        if not needs:
            return
        self.needs[item.nodeid] = needs
        try:
            why = desks.lacking(self.described, needs)
        except ValueError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from error
        if why:
            item.add_marker(pytest.mark.skip(reason=f"{_BENCH_LACKS}{why} ({self._path.name})"))

    def skipped(self, nodeid: str, reason: str) -> None:
        """Note a skipped test: was that right?"""
        if not self.is_default or nodeid not in self.needs:
            return
        complete = bool(os.environ.get("CI"))
        if reason.startswith(LACKS):
            wrong = complete
        else:
            wrong = desks.supportable(self.needs[nodeid], were_all_installed=complete)
        if wrong:
            self.wrongly_skipped[nodeid] = reason


_SESSION = pytest.StashKey[BenchSession]()
_DESK = pytest.StashKey[Desk]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The bench, and where its report goes."""
    group = parser.getgroup("bench", "hardware in the loop")
    group.addoption(
        "--bench", metavar="FILE", default=None, help="run on the bench that this YAML file describes (docs/hil.md)"
    )
    group.addoption(
        "--bench-report", metavar="DIR", default=None, help="keep transcripts, junit.xml and index.html in this folder"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest's own JUnit writer looks for its path."""
    config.addinivalue_line(
        "markers", "needs(*capabilities): what a test asks of the bench (hil_tests/bench/boards.py)"
    )
    session = BenchSession(config)
    config.stash[_SESSION] = session
    if session.report is not None and config.option.xmlpath is None:
        config.option.xmlpath = str(session.report.junit)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what the bench cannot do."""
    for item in items:
        config.stash[_SESSION].choose(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failing test what the parts said."""
    report = yield
    desk = item.stash.get(_DESK, None)
    if report.failed and desk is not None and report.when != "teardown":
        for name, text in desk.transcripts().items():
            report.sections.append((f"Transcript of {name}", text[-_SHOWN:].replace("\r\n", "\n")))
    session = item.config.stash[_SESSION]
    if report.skipped and not hasattr(report, "wasxfail"):
        session.skipped(item.nodeid, _reason(report))
    if session.report is not None:
        session.report.add(report, _reason(report) if report.skipped else report.longreprtext)
    return report


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    return text.removeprefix("Skipped: ")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run on the default bench that skipped what could be done has failed."""
    bench = session.config.stash[_SESSION]
    if bench.wrongly_skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if bench.report is not None:
        bench.report.write()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it."""
    bench = config.stash[_SESSION]
    if bench.wrongly_skipped:
        terminalreporter.section("skipped though the platform can do it: the run has failed", red=True)
        for nodeid, reason in bench.wrongly_skipped.items():
            terminalreporter.line(f"{nodeid}: {reason}")
    if bench.report is not None:
        terminalreporter.line(f"bench report: {bench.report.index}")


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """The bench in use by one test."""
    session = request.config.stash[_SESSION]
    used = Desk(session.described, tmp_path / "bench")
    request.node.stash[_DESK] = used
    try:
        yield used
    finally:
        used.close()
        if session.report is not None:
            session.report.keep(request.node.nodeid, used.transcripts())


@pytest.fixture
def board(request: pytest.FixtureRequest, desk: Desk) -> Board:
    """The board with the capabilities `board.…` that the test needs; off, where its power can be switched."""
    needs = request.config.stash[_SESSION].needs.get(request.node.nodeid, ())
    return desk.board(*(need for need in needs if need.startswith("board.")))


@pytest.fixture
def instrument(request: pytest.FixtureRequest, desk: Desk) -> Instrument:
    """The instrument that the test needs, switched on."""
    needs = request.config.stash[_SESSION].needs.get(request.node.nodeid, ())
    found = desk.instrument(*(need for need in needs if not need.startswith("board.")))
    found.power_on()
    return found


@pytest.fixture
def bench_broker(desk: Desk) -> BenchBroker:
    """A broker that the boards reach."""
    try:
        return desk.broker()
    except MosquittoMissing as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {error}")
        pytest.skip(LACKS + str(error))
