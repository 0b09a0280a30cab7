"""The server as its users run it: a process of its own, on a port of its own, stopped by its own pid."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

START_S = 20.0
"""Longest wait for a server to listen."""
STOP_S = 10.0


class ServerProcess:
    """`python -m cloud.apiserver` on a data folder."""

    def __init__(self, data: Path, port: int = 0, options: Sequence[str] = ()) -> None:
        self.data = data
        self._options = options
        self.port = port
        self.kubeconfig = data / "kubeconfig"
        self.log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, expect_fresh: bool = True) -> None:
        """Start, and return when it listens; without `expect_fresh` another server's kubeconfig may be in the way."""
        if expect_fresh:
            self.kubeconfig.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cloud.apiserver", "--data", str(self.data), "--port", str(self.port)]
        command += self._options
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        until = time.monotonic() + START_S
        while not self.kubeconfig.exists() or not expect_fresh:
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the server did not start: {self.log.read_text()}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, and wait: the exit status."""
        return self.signal(signal.SIGTERM)

    def signal(self, number: int) -> int:
        """Send a signal, and wait: the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(STOP_S)
        finally:
            self.kill()
