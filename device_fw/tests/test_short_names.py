"""Names become short where no module could take one for another, and stay where somebody else may mean them."""

import subprocess
from pathlib import Path

import pytest

from device_fw.tools.short_names import shortened
from hil_tests.bench import micropython_board
from hil_tests.conftest import missing


def test_names_become_short_the_same_ones_in_all_modules() -> None:
    source = (
        b"_limit = [5]\n\n\nclass _Thing:\n    def __init__(self, amount):\n        self._amount = amount  # kept\n"
    )
    made = shortened({"a.py": source, "b.py": b"def work():\n    return work\n"})
    assert made["a.py"] == b"_b = [5]\n\n\nclass _a:\n    def __init__(_d, _c):\n        _d._a = _c  # kept\n"
    assert made["b.py"] == b"def _a():\n    return _a\n"


def test_what_one_module_makes_and_another_uses_has_one_short_name() -> None:
    made = shortened(
        {
            "a.py": b"class Tank:\n    def filled(self):\n        return 1\n",
            "b.py": b"from a import Tank\n\n\ndef level(tank):\n    return tank.filled() if tank else Tank\n",
        }
    )
    assert made["a.py"] == b"class _a:\n    def _a(_b):\n        return 1\n"
    assert made["b.py"] == b"from a import _a\n\n\ndef _b(_c):\n    return _c._a() if _c else _a\n"


@pytest.mark.parametrize(
    "source",
    [
        b"def _a(_b):\n    return _b.theirs\n",  # made elsewhere
        b"def _a(_b):\n    _b.feed = _a\n",  # a watchdog has such a name
        b"mine = 1\nprint(getattr(x, 'mine'))\n",
        b"from other import mine\n",
        b"mine = 1\nprint(f'{mine}')\n",
        b"from other import *\nmine = 1\n",
        b"def _a(mine): pass\n_a(mine=1)\n",
        b"def _a(mine=0, *, other): pass\n",  # **options may name them
        b"MINE = const(1)\n",  # a private one would be gone
        b"__version__ = 1\n_ = 2\n",
        b"def f(:\n",
    ],
)
def test_a_name_that_may_mean_something_elsewhere_stays(source: bytes) -> None:
    assert shortened({"a.py": source}, {"_", "_a", "_b"}) == {"a.py": source}


def test_what_others_are_said_to_use_stays_and_so_do_the_names_of_modules() -> None:
    source = b"def spoken():\n    return pump\n\n\npump = 1\n"
    assert shortened({"a/pump.py": source}, {"spoken"}) == {"a/pump.py": source}


def test_attributes_of_classes_that_inherit_over_modules_do_not_meet() -> None:
    base = b"class A:\n    def __init__(self):\n        self._height = 1\n"
    heir = b"from a import A\n\n\nclass B(A):\n    def __init__(self):\n        self._depth = 2\n"
    made = shortened({"a.py": base, "b.py": heir})
    assert b"._b = 1" in made["a.py"]
    assert b"._a = 2" in made["b.py"]


def test_what_is_given_to_an_object_of_another_module_meets_nothing_there() -> None:
    made = shortened({"a.py": b"class A:\n    inner = 1\n", "b.py": b"def f(one):\n    one.outer = 1\n"})
    assert (b"    _a = 1" in made["a.py"]) != (b"._a = 1" in made["b.py"])


def test_short_names_do_not_meet_those_that_are_there() -> None:
    assert shortened({"a.py": b"_beta = __x__ = 1\nprint(_a)\n"}) == {"a.py": b"_b = __x__ = 1\nprint(_a)\n"}


def test_what_was_shortened_does_the_same_on_a_board(tmp_path: Path) -> None:
    source = (
        b"class Sum:\n    of = 3\n    both = (of, of)\n    def product(self, by):\n        return self.of * by\n"
        b"def made(kind):\n    one = kind()\n    return lambda by: one.product(by)\nprint(made(Sum)(7), Sum.both)\n"
    )
    short = shortened({"main.py": source})["main.py"]
    assert b"product" not in short
    (tmp_path / "main.py").write_bytes(short)
    try:
        line = micropython_board.command(str(tmp_path / "main.py"))
    except micropython_board.Unavailable as error:
        missing(str(error))
    assert subprocess.run(line, capture_output=True, timeout=20, check=True).stdout == b"21 (3, 3)\n"
