"""One download: takes what the gateway offers, piece by piece, and checks it. No I/O, no clock.

The board asks for one piece at a time, from where its flash says that it is; the gateway keeps nothing. A piece that does not
come is asked for again, ever later.

What was refused or reverted is not tried again, until another image is offered, or the same one with a higher `retry`.
"""

from binascii import hexlify

from edgewire import device_topics as topics
from edgewire import ota_codes as codes
from edgewire import ota_messages as messages
from edgewire.ota_fields import OtaError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.firmware.update import Updater
    from device_fw.firmware.update_store import UpdateStore
    from edgewire.ota_messages import Offer

PATIENCE_MS = 5000  # for a piece; then it is asked for again, and the patience doubles
_MOST_PATIENCE_MS = 60000
_TRIES = 3  # of a file whose checksum is wrong, and of what finds too little memory
_LEAST_PIECE = 64  # bytes
_PAUSE_MS = 500  # before going on with little memory
_ENOSPC = 28


class Download:
    """What the gateway offers now. `update.Updater` makes one for an offer, and drops it when it is not `going_on` any more."""

    def __init__(self, updater: "Updater", store: "UpdateStore", chunk_bytes: "Callable[[], int]") -> None:
        """`chunk_bytes` says how much to ask for at once."""
        self._updater = updater
        self._slots = updater.slots
        self._store = store
        self._chunk_bytes = chunk_bytes
        self._most = codes.MAX_CHUNK  # to ask for at once
        self._stop()

    def _stop(self) -> None:
        self._offer: "Offer | None" = None  # that is being downloaded
        self._files: "list[tuple[str, int, str]]" = []  # path, size, sha256; the manifest first
        self._index = 0
        self._begin = 0  # of the file, in the stream
        self._have = 0  # of the file
        self._digest: "Any" = None
        self._total = 0
        self._wrong = 0  # checksums of this file
        self._short = 0  # times that there was too little memory, without a piece in between
        self._asked: "tuple[int, int] | None" = None  # offset and length that are on their way
        self._ask_ms = 0  # when to ask (again)
        self._patience_ms = PATIENCE_MS

    @property
    def going_on(self) -> bool:
        """Whether there is something to wait for."""
        return self._offer is not None

    def on_message(self, kind: str, payload: bytes, now_ms: int) -> None:
        """Take an offer or a piece. Never raises for what it says; what becomes of it, the updater is told."""
        self._guarded(self._offered if kind == topics.OTA_OFFER else self._came, payload, now_ms)

    def tick(self, now_ms: int) -> "tuple[str, str, int] | None":
        """The next request, when it is time for one."""
        if self._offer is None or now_ms < self._ask_ms:
            return None
        if not self._files:
            self._guarded(self._start, self._offer, now_ms)
            if not self._files:
                return None
        if self._asked is not None:
            self._patience_ms = min(_MOST_PATIENCE_MS, self._patience_ms * 2)
        length = min(self._most, self._chunk_bytes(), self._files[self._index][1] - self._have)
        self._asked = self._begin + self._have, length
        self._ask_ms = now_ms + self._patience_ms
        return topics.OTA_GET, messages.get(self._offer.id, self._asked[0], length), 0

    def _offered(self, payload: bytes, now_ms: int) -> None:
        self._consider(messages.parse_offer(payload), now_ms)

    def _came(self, payload: bytes, now_ms: int) -> None:
        if self._files:
            self._take(messages.view_chunk(payload), now_ms)

    def _guarded(self, step: "Callable[[Any, int], None]", what: object, now_ms: int) -> None:
        """Take a step; whatever goes wrong in it becomes a reason."""
        try:
            step(what, now_ms)
        except OtaError as error:
            self._failed(error.reason, error)
        except OSError as error:
            self._failed(codes.NO_SPACE if error.errno == _ENOSPC else codes.FLASH, error)
        except MemoryError as error:
            self._begin_again(error, now_ms)

    def _begin_again(self, error: MemoryError, now_ms: int) -> None:
        """The heap is too full for what was to be done: go on from what is on flash, with smaller pieces."""
        self._updater.log("update_short_of_memory", reason=error)
        offer, most, short = self._offer, self._most // 2, self._short + 1
        if short > _TRIES:
            self._end(codes.NO_MEMORY)
            return
        self._store.close()
        self._stop()
        self._offer, self._most, self._short, self._ask_ms = offer, max(_LEAST_PIECE, most), short, now_ms + _PAUSE_MS

    def _tell(self, state: str, reason: str, progress: int) -> None:
        self._updater.state, self._updater.reason, self._updater.progress = state, reason, progress

    def _consider(self, offer: "Offer | None", now_ms: int) -> None:
        if offer is None:
            if self._offer is not None:
                self._end(codes.STOPPED)
            return
        if self._offer is not None and self._offer.id == offer.id and self._offer.signature == offer.signature:
            self._offer = offer  # the link was lost and is back
            self._asked, self._ask_ms = None, now_ms
            return
        if self._offer is not None:
            self._end(codes.STOPPED)
        id, state, reason, retry = self._slots.record["last"]
        if offer.id == self._slots.id:
            self._updater.target = offer.id
            self._tell(codes.CONFIRMED, codes.NONE, 100)
        elif offer.id == id and state in (codes.REFUSED, codes.REVERTED) and offer.retry <= retry:
            self._updater.target = id
            self._tell(state, reason, 0)
        else:
            self._start(offer, now_ms)

    def _start(self, offer: "Offer", now_ms: int) -> None:
        self._offer = offer
        self._updater.target = offer.id
        self._tell(codes.DOWNLOADING, codes.NONE, 0)
        if offer.counter < self._slots.record["counter"]:
            raise OtaError(codes.DOWNGRADE, "counter {}".format(offer.counter))
        resumed = self._store.holds(offer)
        self._updater.log("update_offered", id=messages.short(offer.id), version=offer.version, resumed=resumed)
        if not resumed:
            self._store.clear(offer)
        self._files = [(codes.MANIFEST, offer.size, offer.id)]
        self._total = offer.size
        self._open()
        self._advance(now_ms)

    def _open(self) -> None:
        path, size, _ = self._files[self._index]
        self._have, self._digest = self._store.open(path, size)

    def _advance(self, now_ms: int) -> None:
        """Go on to the next byte that is missing; when none is, to the trial."""
        while self._have >= self._files[self._index][1]:
            self._finish_file()
            if self._index == len(self._files):
                self._finish()
                return
            if self._have < 0:
                self._open()
        self._asked, self._ask_ms, self._patience_ms = None, now_ms, PATIENCE_MS
        self._updater.progress = (self._begin + self._have) * 100 // self._total

    def _finish_file(self) -> None:
        """The file is complete: check it, and go to the next one. After it, `_have` is -1: nothing is open."""
        path, size, sha256 = self._files[self._index]
        self._store.close()
        self._have = -1
        if hexlify(self._digest.digest()).decode() != sha256:
            self._wrong += 1
            self._store.remove(path)
            self._updater.log("update_file_damaged", path=path, times=self._wrong)
            if self._wrong >= _TRIES:
                raise OtaError(codes.CHECKSUM, path)
            return
        self._wrong = 0
        self._index += 1
        self._begin += size
        if self._index == 1:
            self._read_manifest()

    def _read_manifest(self) -> None:
        assert self._offer is not None
        data = self._store.manifest(self._offer.size)
        self._updater.feed()
        if not self._slots.verify(data, self._offer.signature):
            raise OtaError(codes.BAD_SIGNATURE, "not signed with this board's key")
        self._updater.feed()
        manifest = self._store.described(data)
        if manifest.counter != self._offer.counter or manifest.version != self._offer.version:
            raise OtaError(codes.BAD_MANIFEST, "another counter or version than offered")
        reason = self._store.misfit(manifest)
        if reason != codes.NONE:
            raise OtaError(reason, "not for this board")
        if self._store.lacks_space(manifest):
            raise OtaError(codes.NO_SPACE, "{} bytes".format(manifest.size()))
        self._files.extend(manifest.files)
        self._total += manifest.size()

    def _take(self, piece: "tuple[str, int, memoryview]", now_ms: int) -> None:
        id, offset, data = piece
        assert self._offer is not None
        if id != messages.short(self._offer.id) or self._asked is None or offset != self._asked[0]:
            return  # late, or asked for twice
        if not data:
            self._end(codes.GONE)
            return
        if len(data) > self._asked[1]:
            return
        self._store.write(data)
        self._digest.update(data)
        self._short = 0
        self._have += len(data)
        self._advance(now_ms)

    def _finish(self) -> None:
        assert self._offer is not None
        self._store.seal(self._offer)
        self._slots.arm(self._offer.id, self._offer.counter, self._offer.retry)
        self._updater.log("update_complete", id=messages.short(self._offer.id), version=self._offer.version)
        self._stop()
        self._updater.arm()

    def _end(self, reason: str) -> None:
        """Leave the download as it lies there; the same offer goes on with it."""
        self._updater.log("update_ended", id=messages.short(self._updater.target), reason=reason)
        self._updater.rest()
        if reason != codes.STOPPED:
            self._updater.state = codes.REFUSED
        self._updater.reason = reason
        self._stop()
        self._store.close()

    def _failed(self, reason: str, why: object) -> None:
        """An offer that is none, or the end of a download: the slot is emptied, and the image not tried again by itself."""
        self._updater.log("update_refused", id=messages.short(self._updater.target), reason=reason, why=why)
        offer, begun = self._offer, bool(self._files)
        if offer is None or reason == codes.BAD_OFFER:
            return
        self._updater.state, self._updater.reason = codes.REFUSED, reason
        self._stop()
        try:
            if begun:  # else the slot still holds the version before, and may be needed
                self._store.clear()
            self._slots.refuse(offer.id, reason, offer.retry)
        except (OSError, MemoryError) as error:
            self._updater.log("record_not_written", reason=error)
