"""What nothing on a board uses does not go there; what somebody may use does."""

import pytest

from device_fw.tools.unused import without_unused

USES = b"import a\na.f()\n"


def test_functions_methods_and_constants_that_nothing_uses_stay_behind_and_lines_stay_where_they_are() -> None:
    source = (
        b"LIMIT = 5\nSIZES = (1, LIMIT)\n\n\ndef f():\n    return A().go()\n\n\ndef g():\n    return LIMIT\n\n\n"
        b"class A:\n    KIND = 'a'\n\n    def go(self): ...\n\n    @property\n    def rests(self):\n        return 1\n"
    )
    made = without_unused({"a.py": source, "b.py": USES})["a.py"]
    assert made.count(b"\n") == source.count(b"\n")
    assert made.split() == b"def f(): return A().go() class A: def go(self): ...".split()


def test_what_only_the_unused_used_goes_with_it() -> None:
    source = (
        b"from other import (\n    one,\n    two as too,\n)\n\n\ndef f():\n    return one\n\n\ndef g(): return too\n"
    )
    made = without_unused({"a.py": source, "b.py": USES, "other.py": b"one = 1\ntwo = 2\n"})
    assert made["a.py"] == b"from other import one\n\n\n\n\n\ndef f():\n    return one\n\n\n\n"
    assert made["other.py"] == b"one = 1\n\n"


@pytest.mark.parametrize(
    "source",
    [
        b"def g(): ...\nnames = 'g'\nprint(names)\n",
        b"x = print(1)\n",  # does something
        b"def __getattr__(name): ...\n",
        b"class A:\n    def __enter__(self): ...\n    def ioctl(self): ...\nprint(A)\n",  # called by MicroPython
        b"class A:\n    x = 1\nprint(A)\n",  # a class wants a body
        b"x = 1; y = 2\nprint(y)\n",
        b"def f(:\n",
    ],
)
def test_what_may_be_used_stays(source: bytes) -> None:
    assert without_unused({"a.py": source}) == {"a.py": source}


def test_what_others_are_said_to_use_stays() -> None:
    assert without_unused({"a.py": b"one = 1\ntwo = 1\n"}, {"one"}) == {"a.py": b"one = 1\n\n"}
