"""Runs the portable tests of this package on CPython; device_fw/tests/test_portable.py runs the same on MicroPython."""

from collections.abc import Callable

import pytest

from edgewire.tests import portable_board, portable_board_link, portable_cobs, portable_ota, portable_topics

TESTS = [
    pytest.param(test, id=f"{module.__name__.rpartition('.')[2]}-{name}")
    for module in (portable_topics, portable_board, portable_ota, portable_cobs, portable_board_link)
    for name, test in vars(module).items()
    if name.startswith("test_")
]


@pytest.mark.parametrize("test", TESTS)
def test_it_holds_on_cpython(test: Callable[[], None]) -> None:
    test()
