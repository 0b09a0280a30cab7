"""What the firmware takes of a heap whose objects have 64 bits, which is nearly twice of what it takes on a microcontroller."""

from collections.abc import Callable

import pytest

from hil_tests.bench import plain_flash
from hil_tests.bench.micropython_board import Unavailable
from hil_tests.conftest import missing


@pytest.mark.parametrize(
    ("files", "heap_kb", "most"),
    [
        (plain_flash.demo, 96, 46_000),
        (plain_flash.demo, 64, 46_000),
        (plain_flash.with_updates, 96, 67_500),
        (plain_flash.with_updates, 88, 67_500),
    ],
    ids=["without updates on 96", "on 64", "with updates on 96", "on 88"],
)
def test_the_firmware_starts_and_takes_no_more_than_the_documentation_says(
    files: Callable[[], dict[str, bytes]], heap_kb: int, most: int
) -> None:
    try:
        assert plain_flash.heap_used(files(), heap_kb) < most
    except Unavailable as error:
        missing(str(error))
