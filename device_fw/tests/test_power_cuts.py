"""The power fails at every single step that an update takes on flash, one after the other: the board always comes back, and
right.

The boot code and the updater are the real ones, on a folder. A step is a call that changes it: create, write, flush, close,
rename, remove, mkdir, rmdir. At the step's number the power fails, in one of two ways: half of what was to be written is
there (a file system that writes at once), or all is gone that was not yet synchronised (as on LittleFS).
hil_tests/test_power_cuts_of_a_board.py does the same to a real file system.
"""

import builtins
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from device_fw.boot import choice
from device_fw.boot import slots as boot_slots
from device_fw.firmware.download import Download
from device_fw.firmware.update import SETTLE_MS, Updater
from device_fw.firmware.update_store import UpdateStore
from device_fw.tools import image, signing
from device_fw.tools.image import Image
from edgewire import ota, topics

KEY = signing.new_key()
PIECE = 700
MOST_STARTS = 6


class PowerCut(BaseException):
    """The power is gone."""


class Reset(BaseException):
    """The board starts anew."""


class Flash:
    """Counts the steps on a folder, and fails at one of them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = str(root)
        self.steps = 0
        self.cut_at = 0
        self.torn = True
        self.opened: list[File] = []
        for name in ("rename", "remove", "mkdir", "rmdir"):
            monkeypatch.setattr(os, name, functools.partial(self._call, getattr(os, name)))
        self.open = builtins.open
        monkeypatch.setattr(builtins, "open", self._open)

    def step(self) -> None:
        """One step begins."""
        self.steps += 1
        if self.cut_at and self.steps >= self.cut_at:
            self.fail()

    def fail(self) -> None:
        """Cut the power."""
        self.cut_at = self.steps  # it stays off
        for file in self.opened:
            file.lose(self.torn)
        self.opened.clear()
        raise PowerCut

    def power_on(self, cut_at: int = 0, *, torn: bool = True) -> None:
        """Count anew."""
        self.steps, self.cut_at, self.torn = 0, cut_at, torn

    def _call(self, real: Callable[..., object], path: str, *more: str) -> object:
        if str(path).startswith(self.root):
            self.step()
        return real(path, *more)

    def _open(self, path: str, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not str(path).startswith(self.root) or not set(mode) & set("wa"):
            return self.open(path, mode, *more, **options)
        self.step()
        return File(self, path, mode)


class File:
    """A file that is being written."""

    def __init__(self, flash: Flash, path: str, mode: str) -> None:
        self._flash = flash
        self._path = path
        try:
            with flash.open(path, "rb") as file:
                self._safe: bytes | None = file.read()
        except FileNotFoundError:
            self._safe = None
        self._file: IO[Any] = flash.open(path, "wb" if "w" in mode else "ab", buffering=0)
        self._half = b""
        flash.opened.append(self)

    def write(self, data: "str | bytes") -> int:
        raw = data.encode() if isinstance(data, str) else bytes(data)
        self._half = raw[: len(raw) // 2]
        self._flash.step()
        self._half = b""
        self._file.write(raw)
        return len(data)

    def flush(self) -> None:
        self._flash.step()
        with self._flash.open(self._path, "rb") as file:
            self._safe = file.read()

    def close(self) -> None:
        self.flush()
        self._file.close()
        self._flash.opened.remove(self)

    def lose(self, torn: bool) -> None:
        """The power is gone while it is open."""
        self._file.write(self._half if torn else b"")
        self._file.close()
        if not torn:
            if self._safe is None:
                Path(self._path).unlink()
            else:
                with self._flash.open(self._path, "wb") as file:
                    file.write(self._safe)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not PowerCut:
            self.close()


class Parts:
    """What an update seldom needs; a trial finds itself well."""

    @staticmethod
    def download(updater: Updater) -> Download:
        return Download(updater, UpdateStore(updater.slots, lambda: None), lambda: PIECE)

    @staticmethod
    def confirmed(updater: Updater) -> bool:
        updater.slots.confirm()
        return True


class Board:
    """A board of which only boot code, updater and flash are there. `ran` holds the version of every start."""

    def __init__(self, root: Path, images: list[Image]) -> None:
        self.root = root
        self.images = {one.id: one for one in images}
        self.ran: list[str] = []
        self.updater: Any = None

    def start(self, offered: Image, *, reaches_gateway: bool) -> None:
        """Run until there is nothing more to do. Reset and PowerCut come out."""
        slots = choice.load(str(self.root), lambda *a, **k: None)
        chosen = choice.choose(slots, False, lambda *a, **k: None)
        self.ran.append(slots.version)
        self._assert_whole(slots, chosen)
        self.updater = updater = Updater(
            slots,
            lambda *a, **k: None,
            lambda: None,
            self._reset,
            None,  # type: ignore[arg-type]  # no self-test looks at it
            PIECE,
            Parts,
        )
        if not slots.on_trial or reaches_gateway:
            updater.contact(0)
            updater.on_message(topics.OTA_OFFER, ota.offer(offered.offer()).encode(), 0)
        self._serve(updater, offered)
        updater.alive(0)
        updater.alive(max(SETTLE_MS, slots.trial_s * 1000))

    def _serve(self, updater: Updater, offered: Image) -> None:
        while (wanted := updater.tick(0)) is not None:
            _, offset, length = ota.parse_get(wanted[1].encode())
            data = offered.stream[offset : offset + length]
            updater.on_message(topics.OTA_CHUNK, ota.chunk(offered.id, offset, data), 0)

    def _reset(self) -> None:
        raise Reset

    def _assert_whole(self, slots: Any, chosen: str) -> None:
        """What runs is one of the images, byte for byte, and nothing else lies beside it."""
        assert chosen in ("a", "b"), "recovery"
        folder = self.root / chosen
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for name in (ota.MANIFEST, ota.SIGNATURE, ota.OFFER):
            found.pop(name, None)
        assert found == dict(self.images[slots.id].files)


def built(version: str, counter: int, *, more: int = 0) -> Image:
    files = {
        "main.py": f"print({version!r})\n".encode() * 100,
        "lib/x.py": b"",
        "lib/deep/y.py": bytes(range(256)) * 3 + version.encode(),
        **{f"more{n}.py": b"#" * n for n in range(more)},
    }
    return image.build(files, version=version, counter=counter, board="unix", runtime="3.0", mpy="", arch="", key=KEY)


FIRST, SECOND, THIRD = built("1.0.0", 1, more=2), built("1.1.0", 2), built("1.2.0", 3, more=1)


@pytest.fixture
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flash]:
    """The flash of a fresh board, its steps counted; signatures are checked once each, for the time that takes."""
    for path, content in image.layout(FIRST, image.boot_files(), {}, KEY.public, {}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    verify = functools.cache(lambda m, s: signing.verified(KEY.public, m, s))
    monkeypatch.setattr(boot_slots.Slots, "verify", lambda self, *signed: verify(*signed), raising=False)
    with monkeypatch.context() as patch:
        yield Flash(tmp_path, patch)


def life(board: Board, offered: Image, *, reaches_gateway: bool = True) -> None:
    """Starts until nothing changes any more."""
    for _ in range(MOST_STARTS):
        try:
            board.start(offered, reaches_gateway=reaches_gateway)
        except Reset:
            continue
        return
    raise AssertionError(f"it does not come to rest: {board.ran}")


def snapshot(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def restore(root: Path, files: dict[Path, bytes]) -> None:
    """Make the folder what it was, without counting steps."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.relative_to(root) not in files:
            path.unlink()
        else:
            path.unlink()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def cut_everywhere(
    flash: Flash, offered: Image, check: Callable[[Board], None], *, torn: bool, reaches_gateway: bool = True
) -> int:
    """Cut the power at each step of an update, over all its starts; after each let the board live on, and check. The steps."""
    root = Path(flash.root)
    before = snapshot(root)
    images = [FIRST, SECOND, THIRD]
    flash.power_on()
    life(Board(root, images), offered, reaches_gateway=reaches_gateway)
    steps = flash.steps
    for cut_at in range(1, steps + 1):
        flash.power_on()
        restore(root, before)
        board = Board(root, images)
        flash.power_on(cut_at, torn=torn)
        with pytest.raises(PowerCut):
            life(board, offered, reaches_gateway=reaches_gateway)
        flash.power_on()
        life(board, offered, reaches_gateway=reaches_gateway)
        check(board)
    return steps


@pytest.mark.parametrize("torn", [True, False], ids=["half written", "not synchronised"])
def test_a_cut_at_any_step_costs_nothing_but_time(flash: Flash, torn: bool) -> None:
    def check(board: Board) -> None:
        said = board.updater.read(ota.FIRMWARE), board.updater.read(ota.FIRMWARE_STATE)
        # Cut off in its trial, it is reverted: that is tried once, whatever ended it.
        assert said in (("1.1.0", ota.CONFIRMED), ("1.0.0", ota.REVERTED)), (flash.steps, board.ran)
        if said[1] == ota.REVERTED:
            assert board.updater.read(ota.FIRMWARE_REASON) == ota.NOT_CONFIRMED
            reverted.append(board)

    reverted: list[Board] = []
    steps = cut_everywhere(flash, SECOND, check, torn=torn)
    assert steps > 40
    assert 0 < len(reverted) < 12


@pytest.mark.parametrize("torn", [True, False], ids=["half written", "not synchronised"])
def test_a_cut_at_any_step_of_a_failing_trial_leaves_what_ran_before(flash: Flash, torn: bool) -> None:
    def check(board: Board) -> None:
        assert board.ran[-1] == "1.0.0", board.ran
        assert board.ran.count("1.1.0") <= 1, board.ran

    cut_everywhere(flash, SECOND, check, torn=torn, reaches_gateway=False)


@pytest.mark.parametrize("torn", [True, False], ids=["half written", "not synchronised"])
def test_a_cut_at_any_step_of_the_next_update_finds_the_one_before(flash: Flash, torn: bool) -> None:
    board = Board(Path(flash.root), [FIRST, SECOND])
    life(board, SECOND)
    assert board.updater.read(ota.FIRMWARE) == "1.1.0"

    def check(board: Board) -> None:
        assert board.ran[-1] in ("1.1.0", "1.2.0"), board.ran
        assert "1.0.0" not in board.ran

    cut_everywhere(flash, THIRD, check, torn=torn)
