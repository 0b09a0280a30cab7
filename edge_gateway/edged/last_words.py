"""What containers say of their end: `terminationMessagePath` and `terminationMessagePolicy`, with a kubelet's limits. A shell.

Each attempt has a file on this node's disk that it sees at that path. When it has ended, its last 4 KiB are the message; where
there is none and the policy is FallbackToLogsOnError, the end of its log, if it failed.
"""

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edge_gateway.edged.container_life import START_ERROR
from edge_gateway.edged.pods import Container
from edge_gateway.edged.runtime import Exit, RunId, StartOrder

log = logging.getLogger(__name__)

LIMIT, LOG_LIMIT, LOG_LINES = 4096, 2048, 80
"""Bytes of a message, and bytes and lines of a log in its place (k8s.io/kubernetes/pkg/kubelet/container/runtime.go)."""
FALLBACK = "FallbackToLogsOnError"
_FOLDER = ".messages"
"""No volume has such a name."""


class LastWords:
    """Of one node's containers."""

    def __init__(self, disk: Path) -> None:
        """`disk` is where pods' volumes are; a pod's messages go with these."""
        self._disk = disk

    def make(self, order: StartOrder) -> StartOrder:
        """Have a file for an attempt. Without one it is started all the same: a full disk must not keep it from that."""
        file = self._file(order.id)
        try:
            for folder in (self._disk, self._disk / order.id.uid, file.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            before = self._file(order.id._replace(attempt=order.id.attempt - 1))
            before.unlink(missing_ok=True)
            file.write_bytes(b"")
            file.chmod(0o666)
        except OSError as error:
            log.warning("= no file for a termination message run=%s reason=%s", order.id, error.strerror)
            return order
        return replace(order, message=file)

    def with_message(self, id: RunId, container: Container, exit: Exit, log_file: Path) -> Exit:
        """The end of an attempt with what it said of it."""
        if exit.reason == START_ERROR:
            return exit
        message = _end_of(self._file(id), LIMIT)
        if not message and exit.code != 0 and container.termination_message_policy == FALLBACK:
            message = _end_of_log(log_file)
        return replace(exit, message=message) if message else exit

    def _file(self, id: RunId) -> Path:
        return self._disk / id.uid / _FOLDER / f"{id.container}.{id.attempt}"


def _end_of(file: Path, size: int) -> str:
    """The last bytes of a file as text; empty where there is none."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - size))
        return opened.read(size).decode(errors="replace")
    return ""


def _end_of_log(file: Path) -> str:
    """The last lines of a log, without times."""
    lines = _end_of(file, LOG_LINES * 64 + 2 * LOG_LIMIT).splitlines(keepends=True)[-LOG_LINES:]
    said = []
    for line in lines:
        _, _, rest = line.partition(" ")
        stream, _, rest = rest.partition(" ")
        kind, _, text = rest.partition(" ")
        if stream in ("stdout", "stderr"):  # else its beginning was cut off
            said.append(text if kind == "F" else text.removesuffix("\n"))
    return "".join(said).encode()[-LOG_LIMIT:].decode(errors="ignore")
