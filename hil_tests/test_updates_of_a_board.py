"""Updates over the air on an emulated board, real firmware on a real file system: whatever is wrong, it runs what it trusts."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_fw.tools import signing
from device_fw.tools.flash import flash
from device_fw.tools.flash_order import Order
from device_fw.tools.image import Image
from edgewire import ota
from hil_tests.bench import mosquitto, updates
from hil_tests.bench.ota_gateway import OtaGateway
from hil_tests.bench.small_firmware import Silent, SmallFirmware
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

pytestmark = pytest.mark.timeout(180)  # each wait has its own deadline

DEVICE = "default/b1"
MakeBoard = Callable[..., UnixBoard]


@functools.cache
def image(version: str, counter: int, main: bytes | None = None) -> Image:
    """An image of the firmware, with another `main.py` if one is given."""
    return updates.build(version, counter, {"main.py": main} if main is not None else None)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[OtaGateway]:
    """A gateway's part on a broker of its own."""
    try:
        with mosquitto.mosquitto(tmp_path) as port, OtaGateway(port) as found:
            yield found
    except mosquitto.MosquittoMissing as error:
        missing(str(error))


@pytest.fixture
def make(tmp_path: Path, gateway: OtaGateway) -> Iterator[MakeBoard]:
    """Makes a board that runs an image, and waits until it said so."""
    made: list[UnixBoard] = []

    def board(
        running: Image,
        *,
        on: bool = True,
        flash_bytes: int = 1 << 20,
        heap_kb: int = updates.HEAP_KB,
        **options: int,
    ) -> UnixBoard:
        try:
            one = UnixBoard(tmp_path / "board", heap_kb=heap_kb, flash_bytes=flash_bytes)
        except Unavailable as error:
            missing(str(error))
            raise
        made.append(one)
        one.push(updates.flash(running, DEVICE, gateway.port, **options))
        if on:
            one.power_on()
            gateway.until(DEVICE, firmware=running.described.version)
        return one

    yield board
    for one in made:
        print(one.printed()[-3000:])  # noqa: T201, for whoever reads of a failure
        one.close()


def changed(board: UnixBoard, path: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file on the flash of a board that is off."""
    board.push({path: change(board.files()[path])})


def tried(times: int, gateway: OtaGateway) -> bool:
    """Whether so many trials were reported."""
    return gateway.states(DEVICE).count(ota.TRIAL) == times


def flipped(data: bytes) -> bytes:
    """One bit of it is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def test_a_firmware_that_can_be_updated_runs_on_96_kilobytes(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1), heap_kb=96)
    for start in range(1, 6):
        gateway.history[DEVICE].clear()
        gateway.until_seen(lambda g: len(g.history[DEVICE]) > 3, "it goes on reporting")
        assert gateway.online[DEVICE] == start
        board.cycle()
    assert "MemoryError" not in board.printed()


def test_an_update_is_taken_tried_and_confirmed_and_so_is_the_next(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1))
    for counter in (2, 3):
        version = f"1.{counter}.0"
        gateway.offer(DEVICE, image(version, counter))
        said = gateway.until(DEVICE, state=ota.CONFIRMED, firmware=version)
        assert said[ota.FIRMWARE_TARGET] == ota.short(image(version, counter).id)
        assert (said[ota.FIRMWARE_REASON], said[ota.FIRMWARE_PROGRESS]) == (ota.NONE, "100")
    assert gateway.states(DEVICE)[:4] == [ota.IDLE, ota.DOWNLOADING, ota.TRIAL, ota.CONFIRMED]
    board.cycle()
    gateway.until_seen(lambda g: g.online[DEVICE] == 4, "the board is back")
    board.power_off()
    assert board.files()["a/version.txt"] == b"1.3.0"
    assert board.files()["b/version.txt"] == b"1.2.0"


@pytest.mark.parametrize(
    ("main", "reason", "limits"),
    [
        (updates.RAISES, ota.EXCEPTION, {}),
        (updates.HANGS, ota.WATCHDOG, {"watchdog_ms": 2000}),
        (updates.MUTE, ota.NOT_CONFIRMED, {"trial_s": 3}),
        (updates.UNWELL, ota.SELF_TEST, {"trial_s": 3}),
    ],
    ids=["raises", "hangs", "mute", "unwell"],
)
def test_what_fails_its_trial_is_reverted(
    make: MakeBoard, gateway: OtaGateway, main: bytes, reason: str, limits: dict[str, int]
) -> None:
    make(image("1.0.0", 1), **limits)
    bad = image("1.1.0", 2, main)
    gateway.offer(DEVICE, bad)
    said = gateway.until(DEVICE, state=ota.REVERTED, reason=reason, firmware="1.0.0")
    assert said[ota.FIRMWARE_TARGET] == ota.short(bad.id)


def test_what_was_reverted_is_not_tried_again_unasked(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    bad = image("1.1.0", 2, updates.RAISES)
    gateway.offer(DEVICE, bad)
    gateway.until(DEVICE, state=ota.REVERTED, reason=ota.EXCEPTION)
    asked = len(gateway.gets)
    gateway.offer(DEVICE, bad)
    gateway.offer(DEVICE, image("1.2.0", 3))  # an answer to this one shows that the one before was looked at
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.2.0")
    assert not any(offset == 0 for _, offset, _ in gateway.gets[asked + 1 :])
    assert gateway.states(DEVICE).count(ota.TRIAL) == 2


def test_a_failed_image_is_tried_again_when_the_offer_says_so(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    bad = image("1.1.0", 2, updates.RAISES)
    for retry in (0, 1):
        gateway.offer(DEVICE, bad, retry=retry)
        gateway.until_seen(functools.partial(tried, retry + 1), "it is tried")
        gateway.until(DEVICE, state=ota.REVERTED, reason=ota.EXCEPTION)


def test_what_is_not_for_this_board_is_refused_before_it_is_fetched(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.1.0", 5))
    wrong = updates.build
    for offered, reason in (
        (wrong("1.2.0", 6, key=signing.new_key()), ota.BAD_SIGNATURE),
        (wrong("1.2.0", 6, board="pico"), ota.WRONG_BOARD),
        (wrong("1.0.0", 4), ota.DOWNGRADE),
        (wrong("1.2.0", 6, runtime="9.0.0"), ota.RUNTIME_TOO_OLD),
        (wrong("1.2.0", 6, mpy="5.0"), ota.WRONG_MPY),
        (wrong("1.2.0", 6, mpy="6.3", arch="armv6m"), ota.WRONG_MPY),
    ):
        gateway.gets.clear()
        gateway.offer(DEVICE, offered)
        gateway.until(DEVICE, target=ota.short(offered.id), state=ota.REFUSED, reason=reason, firmware="1.1.0")
        assert max((offset for _, offset, _ in gateway.gets), default=0) < len(offered.manifest)


def test_a_counter_that_lies_does_not_get_an_old_image_in(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.1.0", 5))
    old = image("1.0.0", 4)
    gateway.offer(DEVICE, old, counter=6)
    gateway.until(DEVICE, target=ota.short(old.id), state=ota.REFUSED, reason=ota.BAD_MANIFEST)


def test_a_piece_damaged_once_is_fetched_again_and_always_is_refused(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    offered = image("1.1.0", 2)
    hit: list[int] = []

    def once(device: str, offset: int, data: bytes) -> bytes:
        if offset > len(offered.manifest) and not hit:
            hit.append(offset)
            return flipped(data)
        return data

    gateway.on_chunk = once
    gateway.offer(DEVICE, offered)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    assert [offset for _, offset, _ in gateway.gets].count(hit[0]) == 2
    gateway.on_chunk = lambda device, offset, data: flipped(data)
    gateway.offer(DEVICE, image("1.2.0", 3))
    gateway.until(DEVICE, state=ota.REFUSED, reason=ota.CHECKSUM, firmware="1.1.0")


def test_a_full_flash_is_noticed_before_the_files_are_fetched(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1), on=False)
    board.fill("ballast", 40_000)
    board.power_on()
    gateway.until(DEVICE, firmware="1.0.0")
    offered = image("1.1.0", 2)
    gateway.offer(DEVICE, offered)
    gateway.until(DEVICE, state=ota.REFUSED, reason=ota.NO_SPACE, firmware="1.0.0")
    assert max(offset for _, offset, _ in gateway.gets) < len(offered.manifest)


def test_a_flash_without_a_free_byte_still_starts_and_says_so(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1), on=False)
    board.fill("ballast", 0)
    board.power_on()
    gateway.until(DEVICE, firmware="1.0.0")
    gateway.offer(DEVICE, image("1.1.0", 2))
    gateway.until(DEVICE, state=ota.REFUSED, reason=ota.NO_SPACE, firmware="1.0.0")
    board.cycle()
    gateway.until_seen(lambda g: g.online[DEVICE] == 2, "it starts again")


def test_an_offer_can_be_taken_back_and_goes_on_where_it_was(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    offered = image("1.1.0", 2)
    stop_at = len(offered.stream) // 2
    gateway.on_chunk = lambda device, offset, data: data if offset < stop_at else None
    gateway.offer(DEVICE, offered)
    gateway.until_seen(lambda g: g.gets and g.gets[-1][1] >= stop_at, "half of it is there")
    gateway.offer(DEVICE, None)
    gateway.until(DEVICE, state=ota.IDLE, reason=ota.STOPPED)
    gateway.gets.clear()
    gateway.on_chunk = lambda device, offset, data: data
    gateway.offer(DEVICE, offered)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    assert gateway.gets[0][1] > stop_at // 2


def test_a_download_goes_on_after_a_power_cut_where_it_was(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1))
    offered = image("1.1.0", 2)
    stop_at = len(offered.stream) // 2
    gateway.on_chunk = lambda device, offset, data: data if offset < stop_at else None
    gateway.offer(DEVICE, offered)
    gateway.until_seen(lambda g: g.gets and g.gets[-1][1] >= stop_at, "half of it is there")
    board.power_off()
    gateway.gets.clear()
    gateway.on_chunk = lambda device, offset, data: data
    board.power_on()
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    assert stop_at - 8192 < gateway.gets[0][1] <= stop_at + 8192


def test_another_offer_midway_takes_the_place_of_the_first(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    first, second = image("1.1.0", 2), image("1.2.0", 3)
    gateway.on_chunk = lambda device, offset, data: data if offset < 10_000 else None
    gateway.offer(DEVICE, first)
    gateway.until_seen(lambda g: g.gets and g.gets[-1][1] >= 10_000, "the first is under way")
    gateway.on_chunk = lambda device, offset, data: data
    gateway.offer(DEVICE, second)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.2.0", target=ota.short(second.id))


def test_an_image_that_the_gateway_has_no_more_ends_the_download(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1))
    offered = image("1.1.0", 2)
    gateway.on_chunk = lambda device, offset, data: data if offset < 10_000 else b""
    gateway.offer(DEVICE, offered)
    gateway.until(DEVICE, state=ota.REFUSED, reason=ota.GONE)
    gateway.on_chunk = lambda device, offset, data: data
    gateway.offer(DEVICE, offered)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")


def test_a_slot_damaged_at_rest_is_not_run_and_repaired_by_the_same_offer(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1))
    newer = image("1.1.0", 2)
    gateway.offer(DEVICE, newer)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    gateway.offers.clear()
    board.power_off()
    changed(board, "b/device_fw/firmware/agent.mpy", flipped)
    board.power_on()
    gateway.until(DEVICE, firmware="1.0.0", state=ota.REVERTED, reason=ota.CHECKSUM, target=ota.short(newer.id))
    gateway.offer(DEVICE, newer)
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")


@pytest.mark.parametrize(
    "path",
    ["a/main.py", "a/manifest.json", "a/signature.hex", "a/edgewire/device_topics.mpy"],
    ids=lambda path: str(path)[2:],
)
def test_recovery_answers_when_no_slot_is_whole(make: MakeBoard, gateway: OtaGateway, path: str) -> None:
    board = make(image("1.0.0", 1), on=False)
    changed(board, path, flipped)
    board.power_on()
    gateway.until(DEVICE, state=ota.RECOVERY, firmware="recovery")
    gateway.offer(DEVICE, image("1.1.0", 2))
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")


def test_a_file_that_nobody_signed_keeps_a_slot_from_running(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1), on=False)
    board.push({"a/device_fw/firmware/agent.py": b"print('not signed')\n"})  # would be found before agent.mpy
    board.power_on()
    gateway.until(DEVICE, state=ota.RECOVERY, reason=ota.CHECKSUM)
    assert "not signed\r" not in board.printed()


def test_a_firmware_that_always_fails_leads_to_recovery(make: MakeBoard, gateway: OtaGateway) -> None:
    make(image("1.0.0", 1, updates.RAISES), on=False).power_on()
    gateway.until(DEVICE, state=ota.RECOVERY, reason=ota.CRASHED)
    gateway.offer(DEVICE, image("1.1.0", 2))
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")


def test_a_firmware_for_which_the_heap_is_too_small_leads_to_recovery_which_takes_one_that_fits(
    make: MakeBoard, gateway: OtaGateway
) -> None:
    board = make(image("1.0.0", 1, updates.HUNGRY), on=False)
    board.power_on()
    gateway.until(DEVICE, state=ota.RECOVERY, reason=ota.CRASHED)
    assert board.printed().count("MemoryError") == 3
    gateway.offer(DEVICE, image("1.1.0", 2))
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")


def test_a_heap_too_small_even_for_recovery_lets_the_board_start_again_and_again_and_flash_gets_in(
    tmp_path: Path,
) -> None:
    try:
        board = UnixBoard(tmp_path / "board", heap_kb=56)
    except Unavailable as error:
        missing(str(error))
    board.push(updates.flash(image("1.0.0", 1), DEVICE, 1))
    with board:
        board.until(lambda board: board.starts > 4, "it starts again and again", 30)
        assert "MemoryError" in board.printed()
        flash(Order(SmallFirmware(), port=board.port), Silent())
        board.expect(SmallFirmware().line(), 30)


def test_recovery_finds_its_gateway_when_the_configuration_is_damaged(make: MakeBoard, gateway: OtaGateway) -> None:
    board = make(image("1.0.0", 1), on=False)
    board.push({"config.json": b"{"})
    board.power_on()
    gateway.until(DEVICE, state=ota.RECOVERY, reason=ota.CRASHED)


@pytest.mark.parametrize("records", [["slots.json"], ["slots.json", "slots.json.old"]], ids=["newest", "both"])
def test_a_damaged_record_keeps_a_confirmed_firmware(make: MakeBoard, gateway: OtaGateway, records: list[str]) -> None:
    board = make(image("1.0.0", 1))
    gateway.offer(DEVICE, image("1.1.0", 2))
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    board.power_off()
    for record in records:
        changed(board, record, flipped)
    gateway.twins.clear()
    board.power_on()
    gateway.until(DEVICE, firmware="1.1.0")
    old = image("1.0.0", 1)
    gateway.offer(DEVICE, old)
    gateway.until(DEVICE, target=ota.short(old.id), state=ota.REFUSED, reason=ota.DOWNGRADE)
