"""What is kept of a run on a bench: JUnit, a page, and for each test what every part said. Its size is bounded."""

import html
import re
import shutil
from pathlib import Path

import pytest
from msgspec import Struct

_TRANSCRIPT = 256 << 10
_ALL = 64 << 20
_WHY = 4000
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Hedgerow bench</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2em .8em; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; }}
pre {{ max-width: 70em; overflow: auto; margin: .3em 0; font-size: 12px; }}
.failed {{ color: #b00020; }} .skipped {{ color: #8a6d00; }} .passed {{ color: #1b6e2d; }}
</style>
<h1>Hedgerow bench</h1>
<p>{summary}</p>
<table>
<tr><th>test</th><th>outcome</th><th>s</th><th>transcripts</th></tr>
{rows}
</table>
"""


class _Result(Struct):
    outcome: str = "passed"
    seconds: float = 0.0
    why: str = ""
    transcripts: dict[str, str] = {}


class BenchReport:
    """The report of one run, in a folder; what an earlier run left there goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.junit = self.folder / "junit.xml"
        self.index = self.folder / "index.html"
        self._results: dict[str, _Result] = {}
        self._kept = 0
        shutil.rmtree(self.folder / "transcripts", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, report: pytest.TestReport, why: str) -> None:
        """Take in a phase of a test; what failed or skipped says why."""
        result = self._results.setdefault(report.nodeid, _Result())
        result.seconds += report.duration
        if report.outcome != "passed" and result.outcome != "failed":
            result.outcome, result.why = report.outcome, why[-_WHY:]

    def keep(self, nodeid: str, transcripts: dict[str, str]) -> None:
        """Keep the ends of a test's transcripts."""
        folder = self.folder / "transcripts" / re.sub(r"[^\w.\[\]-]+", "-", nodeid)[-150:]
        result = self._results.setdefault(nodeid, _Result())
        for name, text in transcripts.items():
            data = text.encode("latin-1", "replace")[-_TRANSCRIPT:]
            if not data or self._kept + len(data) > _ALL:
                continue
            self._kept += len(data)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name}.log"
            file.write_bytes(data)
            result.transcripts[name] = str(file.relative_to(self.folder))

    def write(self) -> None:
        """Write the page."""
        counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
        for result in self._results.values():
            counts[result.outcome] += 1
        order = sorted(self._results.items(), key=lambda found: ("failed", "skipped", "passed").index(found[1].outcome))
        page = _PAGE.format(
            summary=", ".join(f"{count} {outcome}" for outcome, count in counts.items()),
            rows="\n".join(_row(nodeid, result) for nodeid, result in order),
        )
        self.index.write_text(page, encoding="utf-8")


def _row(nodeid: str, result: _Result) -> str:
    links = " ".join(f'<a href="{html.escape(to)}">{html.escape(name)}</a>' for name, to in result.transcripts.items())
    why = f"<pre>{html.escape(result.why)}</pre>" if result.why else ""
    return (
        f'<tr><td>{html.escape(nodeid)}{why}</td><td class="{result.outcome}">{result.outcome}</td>'
        f"<td>{result.seconds:.2f}</td><td>{links}</td></tr>"
    )
