"""Power cuts during updates of an emulated board, at any erase or program step of its flash, on a real LittleFS.

The firmware of its images is the updater without a network: it gets its pieces from a folder of this machine, so that a start
takes a tenth of a second. First of all it says what it finds in its own slot, a sha256 over all of it, before the updater has
a say.
"""

import functools
import hashlib
import random
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from device_fw.tools import image
from device_fw.tools.image import Image
from edgewire import ota
from hil_tests.bench import updates
from hil_tests.bench.unix_board import UnixBoard

DEADLINE_S = 30.0
FLASH_BYTES = 1 << 20
MOST_STEPS = {"before": 350, "armed": 28, "trying": 12}
"""States of the flash to begin with, and a few steps more than the first start from each takes."""

_MAIN = b"""import hashlib, os
from binascii import hexlify
import hedgerow_boot
found = hashlib.sha256()
def walk(folder):
    for name in sorted(os.listdir(folder)):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            walk(path)
        elif name not in ("offer.json", "manifest.json", "signature.hex"):
            found.update(path[2:].encode() + b"=")
            with open(path, "rb") as file:
                found.update(file.read())
walk("/" + hedgerow_boot.running.slot)
print("RAN", hexlify(found.digest()).decode())
import json, machine, vfs
from device_fw.firmware import update_parts
from edgewire import device_topics as topics
class Bare:
    properties = {}
with open("gateway.txt") as file:
    vfs.mount(vfs.VfsPosix(file.read()), "/gateway")
updater = update_parts.make({"max_packet": 1500}, Bare())
if updater.state == "trial" and "hold" in os.listdir("/gateway"):
    print("TRYING")
    while True:
        pass
updater.contact(0)
with open("/gateway/offer") as file:
    updater.on_message(topics.OTA_OFFER, file.read().encode(), 0)
with open("/gateway/stream", "rb") as stream:
    while True:
        wanted = updater.tick(0)
        if wanted is None:
            break
        wanted = json.loads(wanted[1])
        stream.seek(wanted["offset"])
        head = bytes(int(wanted["id"][n : n + 2], 16) for n in range(0, 16, 2)) + wanted["offset"].to_bytes(4, "big")
        updater.on_message(topics.OTA_CHUNK, head + stream.read(wanted["length"]), 0)
if updater.state == "trial":
    if "hold" in os.listdir("/gateway"):
        print("ARMED")
        while True:
            pass
    updater.alive(0)
    updater.alive(1000)
print("REST", updater.slots.version, updater.state, updater.reason)
while True:
    pass
"""
_REST = re.compile(r"REST (\S+) (\S+) (\S+)\r?\n")
_HELD = re.compile(r"(ARMED|SMALL)\r?\n")
_SMALL = {
    "main.py": b"print('SMALL')\nwhile True:\n pass\n" + b"#" * 900,
    "lib/one.py": b"ONE = 1\n" * 150,
    "lib/empty.py": b"",
}


@dataclass
class Tally:
    """What came of some power cuts."""

    cuts: int = 0
    """Where the power did fail: the rest came to their end before the step they were to fail at."""
    starts: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    """How the boards came to rest: "1.1.0 confirmed" -> times."""
    untrue: list[str] = field(default_factory=list)
    """Starts of something that is no image of ours, byte for byte; must stay empty."""


class PowerCuts:
    """One board, and its flash in three states to begin with: before the update, armed for the trial, and cut off in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._folder = folder
        self._gateway = folder / "gateway"
        self._gateway.mkdir(parents=True)
        self.first, self.second = _image("1.0.0", 1), _image("1.1.0", 2)
        self._true = {_digest(one): one.described.version for one in (self.first, self.second)}
        self.board = UnixBoard(folder / "board", heap_kb=updates.HEAP_KB, flash_bytes=FLASH_BYTES)

    def prepare(self) -> None:
        """Make the states to begin with."""
        self.prepare_download()
        (self._gateway / "hold").touch()
        for state, sign in (("armed", "ARMED"), ("trying", "TRYING")):
            self.board.power_on()
            self.board.expect(sign, DEADLINE_S)
            self.board.power_off()
            self._keep(state)
        (self._gateway / "hold").unlink()

    def prepare_download(self) -> None:
        """Make the first of them only."""
        config = {"name": "default/b1", "host": "127.0.0.1"}
        files = image.layout(
            self.first, updates.boot(), updates.recovery(), updates.KEY.public, config, watchdog_ms=60_000
        )
        self.board.push({**files, "gateway.txt": str(self._gateway).encode()})
        (self._gateway / "offer").write_text(ota.offer(self.second.offer()))
        (self._gateway / "stream").write_bytes(self.second.stream)
        self._keep("before")

    def run(self, cuts: int) -> Tally:
        """Cut the power so often, each time from a state to begin with, and let the board come to rest."""
        tally = Tally()
        places = [(state, step) for state, most in MOST_STEPS.items() for step in range(1, most)]
        while tally.cuts < cuts:
            self.cut(*self._random.choice(places), tally)
        return tally

    def everywhere(self, state: str) -> Tally:
        """Cut the power at every step of the first start from a state."""
        tally = Tally()
        step = 1
        while self.cut(state, step, tally):
            step += 1
        return tally

    def cut(self, state: str, step: int, tally: Tally) -> bool:
        """One cut, and what comes of it. Whether it came to it."""
        self._begin(state)
        self.board.cut_power_after(step)
        self.board.power_on()
        was_cut = self._until_rest_or_cut()
        tally.cuts += was_cut
        if was_cut:
            self.board.power_on()
            self._until_rest_or_cut()
        self.board.power_off()
        said = self.board.printed()
        ran = re.findall(r"RAN (\w+)", said)
        tally.starts += len(ran)
        tally.untrue += [one for one in ran if one not in self._true]
        rest = _REST.findall(said)
        ended = " ".join(rest[-1]) if rest else "nothing"
        tally.ended[ended] = tally.ended.get(ended, 0) + 1
        return was_cut

    def everywhere_in_download(self) -> Tally:
        """Cut the power at every step of the start that downloads a small image, from the offer until its trial is armed.

        What is in the other slot then must be that image, byte for byte; it counts as a start.
        """
        small = updates.signed(_SMALL, "1.1.0", 2)
        (self._gateway / "offer").write_text(ota.offer(small.offer()))
        (self._gateway / "stream").write_bytes(small.stream)
        (self._gateway / "hold").touch()
        tally = Tally()
        step = 1
        while self._cut_download(step, small, tally):
            step += 1
        (self._gateway / "hold").unlink()
        return tally

    def _cut_download(self, step: int, wanted: Image, tally: Tally) -> bool:
        self._begin("before")
        self.board.cut_power_after(step)
        self.board.power_on()
        was_cut = self._until_rest_or_cut(_HELD)
        if was_cut:
            tally.cuts += 1
            self.board.power_on()
            self._until_rest_or_cut(_HELD)
        self.board.power_off()
        self.board.cut_power_after(0)
        slot = {path[2:]: data for path, data in self.board.files().items() if path.startswith("b/")}
        found = {path: data for path, data in slot.items() if path not in (ota.MANIFEST, ota.SIGNATURE, ota.OFFER)}
        tally.starts += 1
        if found != dict(wanted.files):
            tally.untrue.append(f"step {step}: {sorted(found)}")
        tally.untrue += [one for one in re.findall(r"RAN (\w+)", self.board.printed()) if one not in self._true]
        return was_cut

    def close(self) -> None:
        """Take the board away."""
        self.board.close()

    def _until_rest_or_cut(self, rest: re.Pattern[str] = _REST) -> bool:
        self.board.until(
            lambda board: board.off_because == "cut" or rest.search(board.printed()), "rest, or a cut", DEADLINE_S
        )
        return self.board.off_because == "cut"

    def _begin(self, state: str) -> None:
        self.board.power_off()
        for old in (self.board.console, self.board.console.with_name("console.log.1")):
            if old.exists():
                old.write_bytes(b"")
        shutil.copyfile(self._folder / state, self.board.flash_image)

    def _keep(self, state: str) -> None:
        shutil.copyfile(self.board.flash_image, self._folder / state)


@functools.cache
def _image(version: str, counter: int) -> Image:
    wanted = ("update", "download", "log", "config", "properties", "seldom", "__init__")
    files = {
        path: content
        for path, content in updates.sources("mqtt", _MAIN).items()
        if path.startswith("edgewire/") or (path.startswith("device_fw/") and path.rsplit("/", 1)[1].startswith(wanted))
    }
    return updates.signed({**files, "main.py": _MAIN + b"# " + version.encode() + b"\n"}, version, counter)


def _digest(of: Image) -> str:
    found = hashlib.sha256()
    for path, content in sorted(of.files.items(), key=lambda item: item[0].split("/")):
        found.update(b"/" + path.encode() + b"=" + content)
    return found.hexdigest()
