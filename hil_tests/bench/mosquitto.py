"""A real mosquitto on a loopback port, for tests that must hold on it as on the built-in broker."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DEADLINE_S = 10.0


class MosquittoMissing(Exception):
    """mosquitto is not installed: `make test-deps` installs it."""


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mosquitto(folder: Path, port: int | None = None, *, settings: str = "") -> Iterator[int]:
    """Run mosquitto with its data in `folder` and yield its port. `settings` are more lines of its configuration.

    Raises MosquittoMissing.
    """
    binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise MosquittoMissing("mosquitto is not installed; `make test-deps` installs it")
    port = port or free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n"
        f"autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 1000\nuser root\n{settings}"
    )
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([binary, "-c", str(config)], stdout=log, stderr=log)
    try:
        until_listening(process, port, folder / "mosquitto.log")
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def until_listening(process: subprocess.Popen[bytes], port: int, log: Path, host: str = "127.0.0.1") -> None:
    """Wait until it does. AssertionError when it does not."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), 0.2):
            return
        time.sleep(0.01)
    raise AssertionError(f"mosquitto does not listen: {log.read_text(errors='replace')[-500:]}")
