"""Private names become short where nobody else can mean them, and stay where somebody may."""

import subprocess
from pathlib import Path

import pytest

from device_fw.tools.short_names import shortened
from hil_tests.bench import micropython_board
from hil_tests.conftest import missing


def test_private_names_of_a_module_become_short_the_same_in_all() -> None:
    source = b"_limit = [5]\n\n\nclass _Thing:\n    def __init__(self, size):\n        self._size = size  # kept\n"
    made = shortened({"a.py": source, "b.py": b"def _work():\n    return _work\n"})
    assert made["a.py"] == b"_b = [5]\n\n\nclass _a:\n    def __init__(self, size):\n        self._c = size  # kept\n"
    assert made["b.py"] == b"def _a():\n    return _a\n"


@pytest.mark.parametrize(
    "source",
    [
        b"def f(x):\n    return x._mine\n",  # made elsewhere
        b"_mine = 1\nprint(getattr(x, '_mine'))\n",
        b"from other import _mine\n",
        b"_mine = 1\nprint(f'{_mine}')\n",
        b"def f(_mine): pass\nf(_mine=1)\n",
        b"__version__ = 1\n_ = 2\n",
        b"def f(:\n",
    ],
)
def test_a_name_that_may_mean_something_elsewhere_stays(source: bytes) -> None:
    assert shortened({"a.py": source}) == {"a.py": source}


def test_a_name_that_one_module_keeps_is_kept_in_all() -> None:
    made = shortened({"a.py": b"class A:\n    def _go(self): pass\n", "b.py": b"def f(a):\n    a._go()\n"})
    assert b"_go" in made["a.py"]
    assert b"_go" in made["b.py"]


def test_classes_that_inherit_over_modules_keep_their_names() -> None:
    base = b"class A:\n    def __init__(self):\n        self._a_size = 1\n"
    heir = b"from a import A\n\n\nclass B(A):\n    def __init__(self):\n        self._b_size = 2\n"
    assert shortened({"a.py": base, "b.py": heir}) == {"a.py": base, "b.py": heir}


def test_short_names_do_not_meet_those_that_are_there() -> None:
    assert shortened({"a.py": b"_a = 1\n_beta = _a\n"}) == {"a.py": b"_a = 1\n_b = _a\n"}


def test_what_was_shortened_does_the_same_on_a_board(tmp_path: Path) -> None:
    source = b"class A:\n    _of = 3\n    def _times(self, _by):\n        return self._of * _by\nprint(A()._times(7))\n"
    (tmp_path / "main.py").write_bytes(shortened({"main.py": source})["main.py"])
    try:
        line = micropython_board.command(str(tmp_path / "main.py"))
    except micropython_board.Unavailable as error:
        missing(str(error))
    assert subprocess.run(line, capture_output=True, timeout=20, check=True).stdout == b"21\n"
