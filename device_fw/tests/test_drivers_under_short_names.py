"""Drivers as people write them do on a board what they did before their firmware was cut down and got short names."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from device_fw.tools import short_names, unused
from hil_tests.bench import micropython_board
from hil_tests.conftest import missing

COMPOSED = b"""class Driver:
    def __init__(self, how):
        self.read = getattr(self, "_read_" + how)
    def _read_slow(self):
        return 1
    def _read_fast(self):
        return 2
print(Driver("slow").read(), Driver("fast").read())
"""
COMPOSED_BEFORE = b"""class Driver:
    def has(self, how):
        name = "can_{}".format(how)
        return hasattr(self, name)
    def can_read(self):
        return 1
print(Driver().has("read"), Driver().has("write"))
"""
RUN_AS_TEXT = b"""def doubled(amount):
    return amount * 2
print(eval("doubled(4)"))
"""
LISTED = b"""def doubled(amount):
    return amount * 2
print("doubled" in globals(), [name for name in dir() if name[0] == "d"], globals()["dou" + "bled"](4))
"""
TUPLE = b"""from collections import namedtuple
Reading = namedtuple("Reading", "amount unit")
class Other:
    def __init__(self):
        self.amount = 5
print(Reading(1, "C").amount, Other().amount)
"""
PROXY = b"""class Chip:
    def __init__(self):
        self._level = 4
    def level(self):
        return self._level
class Driver:
    def __init__(self, chip):
        self._chip = chip
    def __getattr__(self, name):
        return getattr(self._chip, name)
print(Driver(Chip()).level())
"""
BY_KEYWORDS = b"""import json
class Driver:
    def __init__(self, pin, **options):
        self.pin = pin
        self.options = options
    def start(self, pin=1, *, rate=2):
        return pin, rate
d = Driver(3, **json.loads('{"depth": 2}'))
print(d.pin, d.options, d.start(**json.loads('{"pin": 4, "rate": 5}')))
"""
REGISTERED = b"""handlers = []
def handler(function):
    handlers.append(function)
    return function
@handler
def on_press():
    return "pressed"
class Kind:
    handlers.append(lambda: "kind")
@handler
class Tool:
    def __repr__(self):
        return "tool"
print([one() for one in handlers])
"""
COUNTED = b"""tally = 0
tally += 1
class Sum:
    total = 1
    total += 2
from time import sleep
del sleep
print(Sum().__class__ is Sum)
"""
FORM_FEED = b"""first = 1 # \x0c page two
second = first + 1
def third(): return second
print(third())
"""
FORMATTED = b"""class Point:
    def __init__(self):
        self.height = 3
point = Point()
print(f"{point.height} {point.height:03d}", "{height}".format(height=4), "%(height)d" % {"height": 5})
"""
ON_A_DEVICE = b"""import io
class Doubled(io.IOBase):
    def __init__(self):
        self.count = 0
    def write(self, data):
        self.count += len(data)
        return len(data)
    def readinto(self, into):
        return 0
    def ioctl(self, request, argument):
        return 0
out = Doubled()
print("four", end="", file=out)
print(out.count)
"""

SINGLE = {
    "composed": COMPOSED,
    "composed_before": COMPOSED_BEFORE,
    "run_as_text": RUN_AS_TEXT,
    "listed": LISTED,
    "tuple": TUPLE,
    "proxy": PROXY,
    "by_keywords": BY_KEYWORDS,
    "registered": REGISTERED,
    "counted": COUNTED,
    "form_feed": FORM_FEED,
    "formatted": FORMATTED,
    "on_a_device": ON_A_DEVICE,
}
BASE = b"class Driver:\n    def __init__(self):\n        self._height = 1\n    def height(self):\n        return self._height\n"
ASKED = b"from heir import Driver\nd = Driver()\nprint(d.height(), d.depth())\n"
HEIR = b"""class Driver(Original):
    def __init__(self):
        super().__init__()
        self._depth = 2
    def depth(self):
        return self._depth
"""
SEVERAL: dict[str, Mapping[str, bytes]] = {
    "heir_by_another_name": {
        "base.py": BASE,
        "heir.py": b"from base import Driver as Original\n" + HEIR,
        "main.py": ASKED,
    },
    "heir_of_a_variable": {
        "base.py": BASE,
        "heir.py": b"import base\nOriginal = base.Driver\n" + HEIR,
        "main.py": ASKED,
    },
    "heir_of_what_a_function_gives": {
        "base.py": BASE,
        "heir.py": b"import base\ndef chosen():\n    return base.Driver\nOriginal = chosen()\n" + HEIR,
        "main.py": ASKED,
    },
    "privates_of_others": {
        "base.py": b"class Driver:\n    def __init__(self):\n        self._rate = 7\n        self._zone = 1\n",
        "heir.py": b"class Other:\n    def __init__(self, of):\n        self._zone = of._zone + 1\n"
        b"    def zone(self):\n        return self._zone\n",
        "main.py": b"from base import Driver\nfrom heir import Other\nprint(Other(Driver()).zone())\n",
    },
    "asynchronous": {
        "base.py": b"class Pump:\n    def __init__(self):\n        self.height = 1\n"
        b"    async def turn(self):\n        return 2\n",
        "heir.py": b"class Fan:\n    def turn(self):\n        return 3\n",
        "main.py": b"from base import Pump\nfrom heir import Fan\nprint(Fan().turn())\ntry:\n    Pump().turn().send(None)\n"
        b"except StopIteration as ended:\n    print(ended.value)\n",
    },
    "given_to_a_module": {
        "base.py": b"def load():\n    return kept\nkept = 3\n",
        "main.py": b"import base\nbase.noted = 1\nprint(base.load(), base.noted)\n",
    },
    "relative": {
        "pack/__init__.py": b"",
        "pack/bus.py": b"def one():\n    return 1\ndef two():\n    return 2\n",
        "pack/chip.py": b"from .bus import one, two\ndef read():\n\tfrom .bus import one, two\n\treturn one()\n",
        "pack/other.py": b"from . import bus, chip\ndef read():\n    return bus.one()\n",
        "main.py": b"from pack import chip, other\nprint(chip.read(), other.read())\n",
    },
}


@pytest.mark.parametrize("source", SINGLE.values(), ids=SINGLE.keys())
def test_a_module_does_the_same(tmp_path: Path, source: bytes) -> None:
    assert_same(tmp_path, {"main.py": source})


@pytest.mark.parametrize("sources", SEVERAL.values(), ids=SEVERAL.keys())
def test_several_modules_do_the_same(tmp_path: Path, sources: Mapping[str, bytes]) -> None:
    assert_same(tmp_path, sources)


def test_programs_in_assembler_keep_the_names_that_the_assembler_knows() -> None:
    source = (
        b"import rp2\n@rp2.asm_pio()\ndef program():\n    wait(1, pin, 0)\ndef made(pin):\n    return program, pin\n"
    )
    assert short_names.shortened({"a.py": source}) == {"a.py": source}


@pytest.mark.parametrize("name", ["gatts_write", "counter", "convert_temp", "bpp", "mem8", "rx_fifo", "atten", "scan"])
def test_what_modules_of_some_port_have_stays_even_if_a_firmware_has_it_too(name: str) -> None:
    ours = f"class Mine:\n    def {name}(self):\n        return 1\n".encode()
    theirs = f"def read(chip):\n    return chip.{name}()\n".encode()
    made = short_names.shortened({"a.py": ours, "b.py": theirs})
    assert name.encode() in made["a.py"]
    assert name.encode() in made["b.py"]


def test_a_driver_of_a_module_that_nobody_knows_keeps_its_names_and_so_does_who_has_the_same() -> None:
    ours = b"class Mine:\n    def set_size(self):\n        return 1\n"
    theirs = b"import lvgl\n\n\ndef shown(screen):\n    lvgl.button(screen).set_size(2)\n"
    made = short_names.shortened({"a.py": ours, "b.py": theirs})
    assert b"set_size" in made["a.py"]
    assert made["b.py"] == theirs


def assert_same(folder: Path, sources: Mapping[str, bytes]) -> None:
    short = short_names.shortened(unused.without_unused(sources))
    assert printed(folder / "short", short) == printed(folder / "long", sources) != b""


def printed(folder: Path, files: Mapping[str, bytes]) -> bytes:
    """What `main.py` prints on a board with these files."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    try:
        line = micropython_board.command(str(folder / "main.py"))
    except micropython_board.Unavailable as error:
        missing(str(error))
    done = subprocess.run(line, capture_output=True, timeout=20, check=False, cwd=folder)
    assert done.returncode == 0, (done.stdout + done.stderr, files)
    return done.stdout
