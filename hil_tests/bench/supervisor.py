"""The process around an emulated board (`board_supervisor.py`), from the side of who gives the orders."""

import contextlib
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hil_tests.bench.transcript import BoardError

_CODE = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "from hil_tests.bench.board_supervisor import main; main()"
)
_ANSWER_S = 20.0


class Supervisor:
    """One supervisor; it starts with the first order, and ends with `close` or with this process."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        """`folder` takes its log; `settings` are those of `board_supervisor.Board`."""
        self._folder = folder
        self._settings = json.dumps(settings)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not closed."""
        return self._process is not None

    def order(self, do: str, **more: object) -> dict[str, Any]:
        """Have something done; what the board's state is then. BoardError when it does not answer."""
        with self._lock:
            process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
                process.stdin.flush()
            except OSError as error:
                raise BoardError(f"{self._dead()}: {error}") from error
            answers = select.poll()  # select() ends at descriptor 1023, and a bench may have many boards
            answers.register(process.stdout, select.POLLIN)
            if not answers.poll(_ANSWER_S * 1000):
                raise BoardError(f"{self._dead()}: no answer")
            answer = process.stdout.readline()
            if not answer:
                raise BoardError(self._dead())
            return dict(json.loads(answer))

    def close(self) -> None:
        """End it, and the board with it; harmless when it is not there."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_ANSWER_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CODE, self._settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    def _dead(self) -> str:
        said = (self._folder / "supervisor.log").read_text(errors="replace")
        return f"the supervisor of {self._folder} is gone:\n{said[-2000:]}"
