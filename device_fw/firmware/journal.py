"""The journal: readings made while nobody could be told, on flash. Imported only by boards that have a property with `log`.

Such a property's every reading is kept while there is no link, in segments (files of one reading a line) below a folder; where
they would take more than their share of the flash, the oldest segment goes. Readings since the last acknowledgement are kept in
memory: when the link turns out to be lost they belong to the journal too.

On return they go out in batches, oldest first, each taken off once it is acknowledged. A segment is deleted when all of it is,
so after a power cut up to a segment is sent again, and none is lost but what was still in memory: `FLUSH_MS` worth of readings.
A flash that is full costs the oldest segments first, then the journal, which says so once and tries on.
"""

import json
import os

from device_fw.firmware.log import log
from edgewire import device_topics as topics

SEGMENTS = 8
FLUSH_MS = 10000
_PENDING = 64  # readings in memory, at most
_FLUSH_AT = 32
_BATCH = 16  # readings in a message


class Journal:
    """The readings of the properties `names` that wait, in `folder`, in `limit` bytes at most. The flash's errors are logged."""

    def __init__(self, names: "tuple[str, ...]", folder: str, limit: int) -> None:
        self.names = names
        self._folder = folder
        self._segment_bytes = limit // SEGMENTS
        self._pending: "list[tuple[str, str, int]]" = []  # not on flash yet
        self._flush_ms: "int | None" = None
        self._offset = 0  # of the oldest segment, what is sent
        self._taken = 0  # bytes of the batch on its way
        self._failure = ""
        self._segments: "list[int]" = []
        try:
            if folder not in os.listdir():
                os.mkdir(folder)
            self._segments = sorted([int(name) for name in os.listdir(folder) if name.isdigit()])
        except OSError as error:
            self._failed(error)
        self._full = True  # the newest segment may end in half a line after a power cut: begin another
        self._begun = False  # the newest segment holds only what is being written

    def note(self, name: str, value: str, unix_ms: int, now_ms: int) -> None:
        """A reading and its source time; 0: the board does not know the time yet."""
        self._pending.append((name, value, unix_ms))
        if len(self._pending) > _PENDING:
            self._pending.pop(0)
        if self._flush_ms is None:
            self._flush_ms = now_ms + FLUSH_MS

    def told(self) -> None:
        """The link is there and something was acknowledged on it: nobody misses what was in memory."""
        self._pending.clear()
        self._flush_ms = None

    def tick(self, now_ms: int) -> None:
        """There is no link: write to flash what is due."""
        if self._flush_ms is not None and (now_ms >= self._flush_ms or len(self._pending) >= _FLUSH_AT):
            self._flush_ms = now_ms + FLUSH_MS if self._write() else now_ms + 6 * FLUSH_MS
            if not self._pending:
                self._flush_ms = None

    def save(self) -> None:
        """The link is lost, or there again: what is in memory belongs to the journal."""
        self._taken = 0
        if self._pending and self._write():
            self._flush_ms = None

    def message(self, device: str, unix_ms: int) -> "tuple[str, str, int] | None":
        """The oldest readings, for the site's applications: topic, payload, QoS. None when there are none."""
        readings = self.batch()
        if not readings:
            return None
        told = [{"property": name, "value": value, "timestamp": at} for name, value, at in readings]
        return topics.data_update(device), json.dumps({"timestamp": unix_ms, "readings": told}), 1

    def batch(self) -> "list[tuple[str, str, int]]":
        """The oldest readings on flash: (property, value, source time; 0: not known). Empty when there are none."""
        readings: "list[tuple[str, str, int]]" = []
        while self._segments and not readings:
            self._taken = 0
            try:
                with open(self._path(self._segments[0]), "rb") as file:
                    file.seek(self._offset)
                    while len(readings) < _BATCH:
                        line = file.readline()
                        if not line:
                            break
                        self._taken += len(line)
                        try:
                            name, value, unix_ms = json.loads(line)
                            readings.append((name, value, unix_ms))
                        except (ValueError, TypeError):  # half a line, from a power cut
                            pass
            except OSError as error:
                self._failed(error)
            if not readings:
                self._drop()
        return readings

    def acknowledged(self) -> None:
        """The batch is with the gateway's broker."""
        self._offset += self._taken
        self._taken = 0

    def _write(self) -> bool:
        lines = "".join([json.dumps(reading) + "\n" for reading in self._pending])
        while True:
            try:
                self._append(lines.encode())
                self._pending.clear()
                if self._failure:
                    self._failure = ""
                    log("journal_back")
                return True
            except OSError as error:
                if self._begun:
                    self._drop(-1)
                self._full = True  # it may hold half of this
                if not self._segments:
                    self._failed(error)
                    return False
                self._drop()

    def _append(self, lines: bytes) -> None:
        self._begun = self._full or not self._segments
        if self._begun:
            while len(self._segments) >= SEGMENTS:
                self._drop()
            self._segments.append(self._segments[-1] + 1 if self._segments else 1)
            self._full = False
        with open(self._path(self._segments[-1]), "ab") as file:
            file.write(lines)
            self._full = file.tell() >= self._segment_bytes

    def _drop(self, which: int = 0) -> None:
        """A segment goes: the oldest, or the newest (-1)."""
        gone = self._segments.pop(which)
        self._offset = self._taken = 0
        try:
            os.remove(self._path(gone))
        except OSError:  # it was never written
            pass

    def _path(self, segment: int) -> str:
        return "{}/{:08d}".format(self._folder, segment)

    def _failed(self, error: OSError) -> None:
        if not self._failure:
            self._failure = str(error)
            log("journal_stopped", reason=error)
