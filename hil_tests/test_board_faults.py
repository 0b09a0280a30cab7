"""The fault matrix of boards, with the real firmware on the bench's board: what fails around it, and that it comes back.

docs/hil.md lists fault -> test, those of updates and of flashing too.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from device_fw.tools.errors import FirmwareError
from edge_gateway.broker.tests.authority import HOST, Authority, Pair
from hil_tests.bench import board_firmware
from hil_tests.bench.boards import Board
from hil_tests.bench.broker import BenchBroker, ServerTls
from hil_tests.bench.cable import Cable
from hil_tests.bench.desk import Desk
from hil_tests.bench.mosquitto import MosquittoMissing
from hil_tests.conftest import missing

NAME = "default/b1"
D = f"$hw/events/device/{NAME}/"
COMES_S = 30.0
TLS_WAIT_MS = 3000

firmware = pytest.mark.needs("board.firmware", "board.push", "board.power", "board.network", "board.console")


@pytest.fixture
def ready(board: Board, bench_broker: BenchBroker) -> Board:
    """The board with its firmware, off, and the broker that it will report to."""
    provision(board, host=bench_broker.host, port=bench_broker.port)
    return board


def provision(board: Board, **config: object) -> None:
    """Write the firmware and its configuration."""
    quick: dict[str, Any] = {"name": NAME, "timeout_ms": 1000, "keepalive_s": 2, **config}
    try:
        if board.board_file is not None:
            board.push(board_firmware.by_board_file(board.board_file, quick))
        else:
            board.push(board_firmware.files(quick))
    except FirmwareError as error:
        missing(str(error))


def desire(broker: BenchBroker, **desired: str) -> None:
    """Say what Kubernetes desires, as the gateway does."""
    broker.publish(D + "twin/update/delta", json.dumps({"event_id": "", "timestamp": 0, "twin": {}, "delta": desired}))


def reported(broker: BenchBroker, text: str) -> None:
    """Wait for a report with this in it."""
    broker.expect(re.escape(D) + f"twin/update .*{text}", COMES_S)


@firmware
def test_a_board_outlives_a_broker_that_is_killed(ready: Board, bench_broker: BenchBroker) -> None:
    ready.power_on()
    reported(bench_broker, '"temperature"')
    bench_broker.power_off()
    ready.expect("event=link_lost", COMES_S)
    bench_broker.power_on()
    bench_broker.expect('"online"', COMES_S)
    reported(bench_broker, '"temperature"')
    desire(bench_broker, led="ON")
    reported(bench_broker, '"led".*"ON"')


@firmware
def test_a_board_notices_a_broker_that_froze(ready: Board, bench_broker: BenchBroker) -> None:
    ready.power_on()
    reported(bench_broker, '"temperature"')
    bench_broker.fault("frozen")
    ready.expect("event=link_lost", COMES_S)
    bench_broker.fault("none")
    ready.expect("event=connected", COMES_S)
    bench_broker.expect('"online"', COMES_S)


@firmware
async def test_a_board_notices_a_link_that_is_half_open(board: Board, bench_broker: BenchBroker) -> None:
    cable = Cable(bench_broker.host, bench_broker.port)
    await cable.start()
    try:
        await asyncio.to_thread(provision, board, host="127.0.0.1", port=cable.port)
        await asyncio.to_thread(board.power_on)
        await asyncio.to_thread(reported, bench_broker, '"temperature"')
        cable.half_open()
        await asyncio.to_thread(board.expect, "event=link_lost", COMES_S)
        await asyncio.to_thread(board.expect, "event=connected", COMES_S)
        await asyncio.to_thread(bench_broker.expect, '"online"', COMES_S)
    finally:
        await cable.cut()


@firmware
@pytest.mark.needs("board.tls")
@pytest.mark.parametrize("fault", ["expired", "of another authority", "for another host"])
def test_a_board_tells_nothing_to_a_broker_whose_certificate_is(
    desk: Desk, board: Board, tmp_path: Path, fault: str
) -> None:
    authority = Authority(tmp_path / "ca")
    pair: Pair = {
        "expired": lambda: authority.server(days=-1),
        "of another authority": lambda: Authority(tmp_path / "other").server(),
        "for another host": lambda: authority.server(host="127.0.0.9"),
    }[fault]()
    try:
        broker = desk.broker(ServerTls(pair.certificate, pair.key))
    except MosquittoMissing as error:
        missing(str(error))
        raise
    trusted = {"host": HOST, "port": broker.tls_port, "ca": "ca.der", "timeout_ms": TLS_WAIT_MS}
    provision(board, **trusted)
    board.push({"ca.der": authority.der().read_bytes()})
    board.power_on()
    board.expect("event=link_lost reason=.*certificate", COMES_S)
    assert broker.transcript.text() == ""
    provision(board, **{**trusted, "port": broker.port, "ca": ""})  # what would have been heard
    broker.expect('"online"', COMES_S)


@firmware
@pytest.mark.needs("board.tls")
def test_a_board_reports_to_a_broker_that_it_can_trust(desk: Desk, board: Board, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.server()
    try:
        broker = desk.broker(ServerTls(pair.certificate, pair.key))
    except MosquittoMissing as error:
        missing(str(error))
        raise
    provision(board, host=HOST, port=broker.tls_port, ca="ca.der", timeout_ms=TLS_WAIT_MS)
    board.push({"ca.der": authority.der().read_bytes()})
    board.power_on()
    reported(broker, '"temperature"')


@pytest.mark.needs("board.firmware", "board.push", "board.power", "board.network", "board.fault.full-flash")
def test_a_board_with_a_full_flash_goes_on_reporting(ready: Board, bench_broker: BenchBroker) -> None:
    ready.power_on()
    reported(bench_broker, '"temperature"')
    ready.fault("full-flash", 0)
    ready.expect("event=connected", COMES_S)
    reported(bench_broker, '"temperature"')


@pytest.mark.needs("board.firmware", "board.push", "board.power", "board.network", "board.fault.power-cut-in-write")
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_board_whose_power_fails_in_a_write_comes_back(ready: Board, bench_broker: BenchBroker, step: int) -> None:
    ready.fault("power-cut-in-write", step)
    ready.power_on()
    ready.expect("=== power cut ===", COMES_S)
    ready.power_on()
    ready.expect("event=connected", COMES_S)
    reported(bench_broker, '"temperature"')


@firmware
def test_a_board_whose_power_is_cut_again_and_again_reports_each_time(ready: Board, bench_broker: BenchBroker) -> None:
    for _ in range(5):
        ready.power_on()
        bench_broker.expect('"online"', COMES_S)
        ready.power_off()
        bench_broker.expect('"offline"', COMES_S)  # the last will


@pytest.mark.needs("board.push", "board.power", "board.repl")
def test_a_board_that_fails_at_every_start_can_still_be_given_other_files(board: Board) -> None:
    board.push({"main.py": b"import machine\nprint('again')\nmachine.reset()\n"})
    board.power_on()
    board.expect(r"(?s)again.*again")
    board.push({"main.py": b"print('well')\n"})
    board.expect("well")


@pytest.mark.needs("board.push", "board.watchdog", "board.console")
def test_a_watchdog_ends_what_hangs(board: Board) -> None:
    board.push(
        {
            "main.py": b"import machine, time\nprint('cause', machine.reset_cause() == machine.WDT_RESET)\n"
            b"dog = machine.WDT(timeout=1000)\nwhile True:\n    pass\n"
        }
    )
    board.power_on()
    board.expect(r"cause True", COMES_S)
