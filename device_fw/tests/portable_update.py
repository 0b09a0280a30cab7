"""What updates promise, in plain asserts, with a store in memory: runs on CPython and on MicroPython."""

import hashlib
import json
from binascii import hexlify

from device_fw.firmware import download as downloads
from device_fw.firmware import update as updates
from device_fw.firmware import update_parts
from edgewire import ota, topics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGNATURE = bytes(range(64))
FILES = {"lib/x.py": b"", "main.py": b"print(1)\n" * 300, "z.py": b"z" * 100}


def digest(data: bytes) -> str:
    return hexlify(hashlib.sha256(data).digest()).decode()


class FakeImage:
    def __init__(self, counter: int = 2, board: str = "unix", version: str = "1.1.0") -> None:
        files = [(path, len(FILES[path]), digest(FILES[path])) for path in sorted(FILES)]
        self.manifest = ota.encode_manifest(ota.Manifest(board, counter, files, "", "", "1.20.0", version))
        self.id = digest(self.manifest)
        self.counter = counter
        self.version = version
        self.stream = self.manifest + b"".join([FILES[path] for path in sorted(FILES)])

    def offer(self, retry: int = 0) -> bytes:
        offered = ota.Offer(self.id, len(self.manifest), SIGNATURE, self.version, self.counter, retry)
        return ota.offer(offered).encode()


class FakeSlots:
    """The boot code's part: a record in memory."""

    board = "unix"
    runtime = "1.24.0"
    bytecode = 0
    trial_s = 60

    def __init__(self) -> None:
        self.record: "dict[str, Any]" = {"counter": 1, "last": ["", "idle", "none", 0], "trial": None, "crashes": 0}
        self.slot = "a"
        self.id = "0" * 64
        self.version = "1.0.0"
        self.reason = "none"
        self.on_trial = False
        self.calls: "list[Any]" = []

    def verify(self, manifest: bytes, signature: bytes) -> bool:
        return signature == SIGNATURE

    def arm(self, id: str, counter: int, retry: int) -> None:
        self.calls.append(("arm", id, counter, retry))

    def refuse(self, id: str, reason: str, retry: int) -> None:
        self.record["last"] = [id, "refused", reason, retry]

    def confirm(self) -> None:
        self.calls.append("confirm")
        self.on_trial = False

    def fail(self, reason: str) -> None:
        self.calls.append(("fail", reason))

    def well(self) -> None:
        self.calls.append("well")

    def crashed(self, count: int) -> None:
        self.calls.append(("crashed", count))


class FakeStore:
    """A slot in memory. `room` bytes fit."""

    def __init__(self, slots: FakeSlots) -> None:
        self.slots = slots
        self.files: "dict[str, bytes]" = {}
        self.offered = ""
        self.room = 1000000
        self.lacks = False
        self.path = ""

    def holds(self, offer: "ota.Offer") -> bool:
        return self.offered == offer.id

    def clear(self, offer: "ota.Offer | None" = None) -> None:
        self.files.clear()
        self.offered = "" if offer is None else offer.id

    def open(self, path: str, size: int) -> "tuple[int, Any]":
        self.path = path
        data = self.files.setdefault(path, b"")
        return len(data), hashlib.sha256(data)

    def write(self, data: "bytes | memoryview") -> None:
        if sum([len(have) for have in self.files.values()]) + len(data) > self.room:
            raise OSError(28, "no space")
        self.files[self.path] += bytes(data)

    def close(self) -> None:
        pass

    def remove(self, path: str) -> None:
        del self.files[path]

    def manifest(self, size: int) -> bytes:
        return self.files[ota.MANIFEST]

    def described(self, data: bytes) -> "ota.Manifest":
        return ota.parse_manifest(data)

    def misfit(self, manifest: "ota.Manifest") -> str:
        return manifest.misfit("unix", "1.24.0", "", "", self.slots.record["counter"])

    def lacks_space(self, manifest: "ota.Manifest") -> bool:
        return self.lacks

    def seal(self, offer: "ota.Offer") -> None:
        self.files[ota.SIGNATURE] = offer.signature


class FakeParts:
    """What is seldom needed, with a store in memory, and a board that finds itself as the bench says."""

    properties = staticmethod(update_parts.properties)

    def __init__(self, bench: "Any", piece: int) -> None:
        self.bench = bench
        self.piece = piece

    def download(self, updater: "Any") -> "Any":
        return downloads.Download(updater, self.bench.store, lambda: self.piece)

    def confirmed(self, updater: "Any") -> bool:
        real: "Any" = update_parts
        before, real.self_test = real.self_test, lambda board: self.bench.problem
        try:
            return bool(real.confirmed(updater))
        finally:
            real.self_test = before


class Bench:
    """An updater, its slots and store, and a gateway that answers what it asks for."""

    def __init__(self, slots: "FakeSlots | None" = None, store: "FakeStore | None" = None, piece: int = 500) -> None:
        self.slots = slots or FakeSlots()
        self.store = store or FakeStore(self.slots)
        self.resets = 0
        self.problem = ""
        self.asked: "list[tuple[int, int]]" = []
        self.now = 0
        made: "Any" = updates.Updater
        self.updater: updates.Updater = made(
            self.slots,
            lambda *a, **k: None,
            lambda: None,
            self.reset,
            None,
            1000,
            lambda: FakeParts(self, piece),
        )

    def reset(self) -> None:
        self.resets += 1

    def offer(self, payload: bytes) -> None:
        self.updater.on_message(topics.OTA_OFFER, payload, self.now)

    def next_get(self) -> "tuple[str, int, int] | None":
        wanted = self.updater.tick(self.now)
        if wanted is None:
            return None
        kind, payload, qos = wanted
        assert (kind, qos) == (topics.OTA_GET, 0)
        return ota.parse_get(payload.encode())

    def serve(self, image: FakeImage, turns: int = 100) -> None:
        """Answer requests until there are no more."""
        for _ in range(turns):
            wanted = self.next_get()
            if wanted is None:
                return
            id, offset, length = wanted
            assert id == image.id
            self.asked.append((offset, length))
            self.piece(image, offset, image.stream[offset : offset + length])

    def piece(self, image: FakeImage, offset: int, data: bytes) -> None:
        self.updater.on_message(topics.OTA_CHUNK, ota.chunk(image.id, offset, data), self.now)

    def says(self) -> "tuple[str | int, ...]":
        return tuple([self.updater.read(name) for name in (ota.FIRMWARE_STATE, ota.FIRMWARE_REASON)])


def test_an_update_is_fetched_in_order_armed_and_the_board_reset() -> None:
    bench, image = Bench(), FakeImage()
    assert bench.says() == ("idle", "none")
    bench.offer(image.offer())
    assert bench.says() == ("downloading", "none")
    bench.serve(image)
    assert bench.says() == ("trial", "none")
    assert bench.updater.read(ota.FIRMWARE_PROGRESS) == 100
    assert bench.updater.read(ota.FIRMWARE_TARGET) == image.id[:16]
    assert bench.slots.calls == [("arm", image.id, 2, 0)]
    assert bench.store.files["main.py"] == FILES["main.py"]
    assert bench.store.files["lib/x.py"] == b""
    at = 0
    for offset, length in bench.asked:
        assert offset == at
        assert length <= 500
        at += length
    assert at == len(image.stream)
    bench.updater.alive(0)
    assert bench.resets == 0  # "trial" is to be reported before
    bench.updater.alive(updates.SETTLE_MS)
    assert bench.resets == 1


def test_a_piece_that_does_not_come_is_asked_for_again_ever_later() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    first, waits = bench.next_get(), []
    for _ in range(6):
        begin = bench.now
        again = None
        while again is None:
            bench.now += 1000
            again = bench.next_get()
        assert again == first
        waits.append(bench.now - begin)
    assert waits == [5000, 10000, 20000, 40000, 60000, 60000]


def test_the_same_offer_again_asks_at_once() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    assert bench.next_get() is not None
    assert bench.next_get() is None
    bench.offer(image.offer())
    assert bench.next_get() is not None


def test_a_download_goes_on_where_the_flash_says() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    bench.serve(image, turns=3)
    have = sum([len(data) for data in bench.store.files.values()])
    again = Bench(FakeSlots(), bench.store)
    again.offer(image.offer())
    again.serve(image)
    assert again.asked[0][0] == have
    assert again.says() == ("trial", "none")


def test_late_and_foreign_pieces_change_nothing() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    bench.piece(image, 0, b"unasked")
    wanted = bench.next_get()
    assert wanted is not None
    bench.piece(image, 7, b"elsewhere")
    bench.piece(FakeImage(counter=9), 0, b"of another")
    bench.piece(image, 0, b"x" * (wanted[2] + 1))
    bench.updater.on_message(topics.OTA_CHUNK, b"short", 0)
    assert bench.store.files == {ota.MANIFEST: b""}
    bench.piece(image, 0, image.stream[: wanted[2]])
    bench.serve(image)
    assert bench.says() == ("trial", "none")


def test_what_is_wrong_is_refused_once_and_for_all_until_a_retry() -> None:
    for change, reason in (
        ("signature", "bad-signature"),
        ("board", "wrong-board"),
        ("counter", "downgrade"),
        ("space", "no-space"),
        ("full", "no-space"),
    ):
        slots = FakeSlots()
        bench = Bench(slots)
        image = FakeImage(counter=0 if change == "counter" else 2, board="pico" if change == "board" else "unix")
        payload = image.offer()
        if change == "signature":
            content = json.loads(payload)
            content["signature"] = "00" * 64
            payload = json.dumps(content).encode()
        bench.store.lacks = change == "space"
        bench.store.room = 2000 if change == "full" else 1000000
        bench.offer(payload)
        bench.serve(image)
        assert bench.says() == ("refused", reason), change
        assert slots.record["last"] == [image.id, "refused", reason, 0]
        assert bench.store.files == {}
        again = Bench(slots)
        again.offer(payload)
        assert again.next_get() is None
        assert again.says() == ("refused", reason)
        again.store.lacks = False
        if change != "counter":
            again.offer(image.offer(retry=1))
            assert again.next_get() is not None


def test_a_refusal_for_which_there_is_no_memory_is_told_all_the_same() -> None:
    class Full(FakeSlots):
        def refuse(self, id: str, reason: str, retry: int) -> None:
            raise MemoryError("no room for the record's module")

    bench = Bench(Full())
    image = FakeImage(board="pico")
    bench.offer(image.offer())
    bench.serve(image)
    assert bench.says() == ("refused", "wrong-board")


def test_a_refused_downgrade_leaves_the_version_before_where_it_is() -> None:
    bench = Bench()
    bench.store.files["main.py"] = b"the version before"
    bench.offer(FakeImage(counter=0).offer())
    assert bench.says() == ("refused", "downgrade")
    assert bench.store.files == {"main.py": b"the version before"}


def test_a_damaged_file_is_fetched_again_and_refused_in_the_end() -> None:
    for times, says in ((2, ("trial", "none")), (3, ("refused", "checksum"))):
        bench, image = Bench(piece=5000), FakeImage()
        bench.offer(image.offer())
        left = times
        for _ in range(20):
            wanted = bench.next_get()
            if wanted is None:
                break
            _, offset, length = wanted
            data = image.stream[offset : offset + length]
            if offset == len(image.manifest) and left:
                left -= 1
                data = b"X" + data[1:]
            bench.piece(image, offset, data)
        assert bench.says() == says


def test_an_offer_taken_back_stops_and_a_new_one_goes_on() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    bench.serve(image, turns=2)
    bench.offer(b"{}")
    assert bench.says() == ("idle", "stopped")
    assert bench.next_get() is None
    bench.offer(image.offer())
    bench.serve(image)
    assert bench.says() == ("trial", "none")
    assert sum([length for _, length in bench.asked]) == len(image.stream)


def test_another_offer_takes_the_place_of_the_first() -> None:
    bench, first, second = Bench(), FakeImage(), FakeImage(counter=3, version="1.2.0")
    bench.offer(first.offer())
    bench.serve(first, turns=2)
    bench.offer(second.offer())
    bench.asked = []
    bench.serve(second)
    assert bench.asked[0][0] == 0
    assert bench.slots.calls == [("arm", second.id, 3, 0)]


def test_an_image_the_gateway_has_no_more_may_be_offered_again() -> None:
    bench, image = Bench(), FakeImage()
    bench.offer(image.offer())
    assert bench.next_get() is not None
    bench.piece(image, 0, b"")
    assert bench.says() == ("refused", "gone")
    bench.offer(image.offer())
    bench.serve(image)
    assert bench.says() == ("trial", "none")


def test_the_image_that_runs_is_not_fetched_again() -> None:
    slots, image = FakeSlots(), FakeImage()
    slots.id = image.id
    bench = Bench(slots)
    bench.offer(image.offer())
    assert bench.next_get() is None
    assert bench.says() == ("confirmed", "none")


def test_a_bad_offer_changes_nothing() -> None:
    bench, image = Bench(), FakeImage()
    for payload in (b"", b"[]", b'{"id": 1}', b"x" * 5000):
        bench.offer(payload)
    assert bench.says() == ("idle", "none")
    bench.offer(image.offer())
    bench.offer(b"nonsense")
    bench.serve(image)
    assert bench.says() == ("trial", "none")


def on_trial() -> "tuple[Bench, FakeSlots]":
    slots = FakeSlots()
    slots.on_trial = True
    slots.id = FakeImage().id
    return Bench(slots), slots


def test_a_trial_is_confirmed_by_contact_and_a_good_self_test() -> None:
    bench, slots = on_trial()
    assert bench.says() == ("trial", "none")
    bench.problem = "no sensor"
    bench.updater.contact(0)
    assert (bench.says(), slots.calls) == (("trial", "none"), [])
    bench.problem = ""
    bench.updater.contact(0)
    assert (bench.says(), slots.calls) == (("confirmed", "none"), ["confirm"])
    bench.updater.alive(100000)
    assert bench.resets == 0


def test_a_trial_without_contact_or_self_test_ends_at_its_deadline() -> None:
    for problem, reason in (("", "not-confirmed"), ("no sensor", "self-test")):
        bench, slots = on_trial()
        bench.problem = problem
        if problem:
            bench.updater.contact(0)
        bench.updater.alive(0)
        bench.updater.alive(59999)
        assert bench.resets == 0
        bench.updater.alive(60000)
        assert (bench.resets, slots.calls) == (1, [("fail", reason)])


def test_an_offer_during_a_trial_waits_for_its_end() -> None:
    bench, _ = on_trial()
    later = FakeImage(counter=3, version="1.2.0")
    bench.offer(later.offer())
    assert bench.next_get() is None
    bench.updater.contact(0)
    bench.serve(later)
    assert bench.says() == ("trial", "none")


def test_recovery_says_why_and_tries_again_what_crashed() -> None:
    slots = FakeSlots()
    slots.slot, slots.id, slots.version, slots.reason = "", "", "recovery", "crashed"
    bench = Bench(slots)
    assert bench.says() == ("recovery", "crashed")
    assert bench.updater.read(ota.FIRMWARE) == "recovery"
    bench.updater.alive(0)
    bench.updater.alive(updates.RECOVERY_MS - 1)
    assert bench.resets == 0
    bench.updater.alive(updates.RECOVERY_MS)
    assert (bench.resets, slots.calls) == (1, [("crashed", 1)])
    image = FakeImage()
    bench = Bench(slots)
    bench.offer(image.offer())
    bench.updater.alive(0)
    bench.updater.alive(updates.RECOVERY_MS)
    assert bench.resets == 0
    bench.serve(image)
    assert bench.says() == ("trial", "none")


def test_too_little_memory_makes_pieces_smaller_and_ends_after_a_while() -> None:
    bench, image = Bench(), FakeImage()
    write = bench.store.write
    fails = [2]

    def scarce(data: "bytes | memoryview") -> None:
        if fails[0]:
            fails[0] -= 1
            raise MemoryError
        write(data)

    bench.store.write = scarce  # type: ignore[method-assign]
    bench.offer(image.offer())
    for _ in range(60):
        bench.now += 1000
        bench.serve(image, turns=1)
    assert bench.says() == ("trial", "none")
    bench = Bench()
    bench.store.write = scarce  # type: ignore[method-assign]
    fails[0] = 100
    bench.offer(image.offer())
    for _ in range(10):
        bench.now += 1000
        bench.serve(image, turns=1)
    assert bench.says() == ("refused", "no-memory")
