"""Readings made while nobody could be told: on real LittleFS, over power cuts, in order, and on a flash that is full."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from device_fw.tests.conftest import RunOnMicroPython
from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tests.watcher import until
from hil_tests.bench.micropython_board import MicroPythonBoard

D = "$hw/events/device/default/b1/"
DATA = "$ke/events/device/default/b1/data/update"

# A flash of 64 kB with LittleFS, mounted as the working folder.
FLASH = """
import os, vfs
class Flash:
    def __init__(self, blocks):
        self.data = bytearray(blocks * 4096)
    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = self.data[at:at + len(buf)]
    def writeblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        self.data[at:at + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: len(self.data) // 4096, 5: 4096, 6: 0}.get(op)
flash = Flash(16)
vfs.VfsLfs2.mkfs(flash)
vfs.mount(vfs.VfsLfs2(flash), "/flash")
os.chdir("/flash")
from device_fw.firmware import journal
from device_fw.firmware.journal import Journal
made = Journal(("temp",), "journal", 16384)
def note(numbers):
    for number in numbers:
        made.note("temp", str(number), 1000 + number, 0)
        made.tick(0)
def all_of(kept):
    found = []
    while True:
        batch = kept.batch()
        if not batch:
            return found
        found.extend(batch)
        kept.acknowledged()
def numbers(kept):
    return [int(value) for name, value, at in all_of(kept)]
"""


async def test_readings_come_back_in_order_with_their_times(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
note(range(100))
made.save()
print(all_of(made) == [("temp", str(number), 1000 + number) for number in range(100)], all_of(made), os.listdir("journal"))
"""
    )
    assert await on_micropython(code, port=1) == ["True [] []"]


async def test_what_is_on_flash_outlives_the_board_and_half_a_line_harms_nothing(
    on_micropython: RunOnMicroPython,
) -> None:
    code = (
        FLASH
        + """
note(range(64))
with open("journal/00000001", "ab") as file:
    file.write(b'["temp", "half')
made = Journal(("temp",), "journal", 16384)
note(range(64, 128))
print(numbers(Journal(("temp",), "journal", 16384)) == list(range(128)))
"""
    )
    assert await on_micropython(code, port=1) == ["True"]


async def test_a_batch_that_is_not_acknowledged_comes_again(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
note(range(64))
first = made.batch()
made.acknowledged()
second = made.batch()
made.save()
print(first != second, made.batch() == second, Journal(("temp",), "journal", 16384).batch() == first)
"""
    )
    assert await on_micropython(code, port=1) == ["True True True"]


async def test_the_oldest_go_where_more_would_be_kept_than_is_allowed(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
largest = 0
for start in range(0, 3200, 32):
    note(range(start, start + 32))
    size = sum([os.stat("journal/" + name)[6] for name in os.listdir("journal")])
    largest = max(largest, size)
found = numbers(made)
print(largest <= 16384 + 2048, len(found) > 300, found == list(range(3200 - len(found), 3200)))
"""
    )
    assert await on_micropython(code, port=1) == ["True True True"]


async def test_a_reading_is_written_within_ten_seconds_and_many_go_together(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
made.note("temp", "1", 1001, 5000)
made.tick(14999)
print(os.listdir("journal"))
made.tick(15000)
print(os.listdir("journal"))
made.told()
made.tick(99999)
print(numbers(Journal(("temp",), "journal", 16384)))
"""
    )
    assert await on_micropython(code, port=1) == ["[]", "['00000001']", "[1]"]


async def test_what_was_acknowledged_is_no_news_and_memory_is_bounded(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
for number in range(1000):
    made.note("temp", str(number), 1, 0)
print(len(made._pending))
made.told()
made.save()
print(os.listdir("journal"))
"""
    )
    assert await on_micropython(code, port=1) == ["64", "[]"]


async def test_a_full_flash_is_said_once_and_the_journal_is_back_when_there_is_room(
    on_micropython: RunOnMicroPython,
) -> None:
    code = (
        FLASH
        + """
for number in range(99):
    try:
        with open("other{}".format(number), "wb") as other:
            other.write(bytes(4000))
    except OSError as error:
        print("full", error)
        break
for turn in range(5):
    note(range(40))
    made.tick(turn * 100000)
print(len(made._pending) <= 64, made.batch())
os.remove("other0")
made.tick(1000000)
print(numbers(made) != [])
"""
    )
    out = await on_micropython(code, port=1)
    assert re.match(r"full .*28", out[0])
    assert re.match(r"event=journal_stopped reason=.*28", out[1])
    assert out[2:] == ["True []", "event=journal_back", "True"]


async def test_a_flash_that_fills_up_costs_the_oldest_readings_first(on_micropython: RunOnMicroPython) -> None:
    code = (
        FLASH
        + """
made = Journal(("temp",), "journal", 61440)
for start in range(0, 6400, 32):
    note(range(start, start + 32))
found = numbers(made)
print(len(found) > 500, found == list(range(6400 - len(found), 6400)))
"""
    )
    assert await on_micropython(code, port=1) == ["True True"]


# --- in a whole board


@pytest.fixture
def board(tmp_path: Path, umqtt: Path) -> Iterator[MicroPythonBoard]:
    config = {
        "name": "default/b1",
        "host": "127.0.0.1",
        "timeout_ms": 300,
        "keepalive_s": 1,
        "properties": {"temperature": {"log": True}, "interval": {"minimum": 10}},
    }
    made = MicroPythonBoard(tmp_path / "board", config, umqtt=umqtt)
    yield made
    made.kill()


def told(broker: FaultyBroker) -> list[dict[str, Any]]:
    """The readings of all batches, in order."""
    return [
        reading
        for message in broker.published
        if message.topic == DATA
        for reading in json.loads(message.payload)["readings"]
    ]


def on_flash(board: MicroPythonBoard) -> list[list[Any]]:
    """Readings in the board's journal, which may be writing the last line or drop the first file just now."""
    found: list[list[Any]] = []
    for file in sorted((board.folder / "journal").glob("*")):
        with suppress(FileNotFoundError):
            found += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return found


async def quickly(board: MicroPythonBoard, broker: FaultyBroker) -> None:
    """Power on, and have it read every 10 ms."""
    board.config["port"] = broker.port
    board.start()
    await broker.until(lambda: any(m.topic == D + "twin/update" for m in broker.published))
    await broker.publish(D + "twin/update/delta", b'{"delta":{"interval":"10"}}')
    await broker.until(lambda: any(b'"value": "10"' in m.payload for m in broker.published))


async def test_readings_made_without_a_link_are_told_on_return_with_no_gap(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    await quickly(board, faulty)
    before = len(told(faulty))
    await faulty.change(connack=5)
    faulty.drop()
    await until(lambda: len(on_flash(board)) >= 100)
    await faulty.change(connack=0)
    await faulty.until(lambda: len(told(faulty)) >= before + 100)
    await until(lambda: not on_flash(board))
    readings = told(faulty)[before:]
    assert {reading["property"] for reading in readings} == {"temperature"}
    times = [reading["timestamp"] for reading in readings]
    assert times == sorted(set(times))
    steps = [abs(float(b["value"]) - float(a["value"])) for a, b in itertools.pairwise(readings)]
    assert max(steps) < 0.15  # it moves by a tenth at most from one reading to the next: none is missing


async def test_readings_on_flash_outlive_a_power_cut(board: MicroPythonBoard, faulty: FaultyBroker) -> None:
    await quickly(board, faulty)
    await faulty.change(connack=5)
    faulty.drop()
    await until(lambda: len(on_flash(board)) >= 60)
    board.kill()
    kept, before = on_flash(board), len(told(faulty))
    await faulty.change(connack=0)
    board.start()
    await faulty.until(lambda: len(told(faulty)) >= before + len(kept))
    found = [[reading["property"], reading["value"], reading["timestamp"]] for reading in told(faulty)[before:]]
    assert found[: len(kept)] == kept


async def test_a_batch_whose_acknowledgement_is_lost_is_told_again(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    await quickly(board, faulty)
    await faulty.change(connack=5)
    faulty.drop()
    await until(lambda: len(on_flash(board)) >= 40)

    await faulty.change(connack=0, withheld=DATA)
    await until(lambda: "no PUBACK" in board.console.read_text())
    await faulty.change(withheld="")
    await until(lambda: not on_flash(board))
    times = [reading["timestamp"] for reading in told(faulty)]
    assert len(times) > len(set(times))  # some twice
    first_seen = list(dict.fromkeys(times))
    assert first_seen == sorted(first_seen)
