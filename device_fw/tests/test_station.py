"""A whole board as it ships (firmware, umqtt.simple, MicroPython) in a process of its own, against real and failing brokers."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from device_fw.tests.conftest import ROOT, RunOnMicroPython
from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tests.watcher import Watcher, until
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.server import Broker
from edge_gateway.broker.users import Users, device_user, full_user
from edge_gateway.store.memory import MemoryStore
from hil_tests.bench.micropython_board import MicroPythonBoard

NAME = "default/b1"
D = f"$hw/events/device/{NAME}/"
QUICK = {"name": NAME, "host": "127.0.0.1", "timeout_ms": 300, "keepalive_s": 1}


@pytest.fixture
def board(tmp_path: Path, umqtt: Path) -> Iterator[MicroPythonBoard]:
    """A board that is off; the test says where its broker is and powers it on."""
    made = MicroPythonBoard(tmp_path / "board", QUICK, umqtt=umqtt)
    yield made
    made.kill()


def power_on(board: MicroPythonBoard, port: int, **config: object) -> None:
    board.config.update(port=port, **config)
    board.start()


def delta(**desired: str) -> dict[str, object]:
    return {"event_id": "", "timestamp": 0, "twin": {}, "delta": desired}


def values(report: Any) -> dict[str, str]:
    return {name: twin["actual"]["value"] for name, twin in report["twin"].items()}


def losses(board: MicroPythonBoard) -> list[int]:
    """How often the board lost its link so far: the pause in milliseconds after each."""
    return [
        int(ms) for ms in re.findall(r"retry_ms=(\d+)", board.console.read_text() if board.console.exists() else "")
    ]


def greeted(broker: FaultyBroker, visit: int) -> bool:
    """Whether the board has said on this connection that it is online, and all it knows."""
    return len(broker.visits) > visit and len(broker.visits[visit].published) > 1


def reports(broker: FaultyBroker) -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in broker.published if m.topic == D + "twin/update"]


@contextlib.asynccontextmanager
async def built_in_broker(users: Users | None = None) -> AsyncIterator[int]:
    broker, ready = Broker(MemoryStore(), port=0, users=users), asyncio.Event()
    serving = asyncio.create_task(broker.run(ready))
    try:
        async with asyncio.timeout(5):
            await ready.wait()
        yield broker.port
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@pytest.fixture(params=["built-in", "mosquitto"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[tuple[int, Watcher]]:
    """A real broker's port, and somebody who listens there."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "mosquitto":
            port = request.getfixturevalue("mosquitto")
        else:
            port = await stack.enter_async_context(built_in_broker())
        yield port, await stack.enter_async_context(Watcher(port))


# --- with a broker that behaves


async def test_a_board_says_that_it_is_online_and_then_all_it_knows(
    board: MicroPythonBoard, site: tuple[int, Watcher]
) -> None:
    port, watcher = site
    power_on(board, port)
    await until(lambda: watcher.on(D + "twin/update"))
    assert [topic for topic, _ in watcher.heard][:2] == [D + "state/update", D + "twin/update"]
    assert watcher.on(D + "state/update")[0]["state"] == "online"
    first = values(watcher.on(D + "twin/update")[0])
    assert set(first) == {"temperature", "led", "interval"}
    assert (first["led"], first["interval"]) == ("OFF", "1000")
    assert 15 <= float(first["temperature"]) <= 30


async def test_an_output_follows_a_delta_and_is_reported(board: MicroPythonBoard, site: tuple[int, Watcher]) -> None:
    port, watcher = site
    power_on(board, port)
    await until(lambda: watcher.on(D + "twin/update"))
    assert board.outputs()["led"] == "OFF"
    watcher.say(D + "twin/update/delta", delta(led="ON"))
    await until(lambda: any(values(report).get("led") == "ON" for report in watcher.on(D + "twin/update")))
    assert board.outputs()["led"] == "ON"


async def test_a_bad_delta_is_answered_with_the_value_as_it_is(
    board: MicroPythonBoard, site: tuple[int, Watcher]
) -> None:
    port, watcher = site
    power_on(board, port)
    await until(lambda: watcher.on(D + "twin/update"))
    watcher.say(D + "twin/update/delta", delta(led="BLUE"))
    await until(lambda: any(values(report) == {"led": "OFF"} for report in watcher.on(D + "twin/update")[1:]))
    assert "event=desired_not_followed desired=BLUE property=led" in board.console.read_text()
    assert board.outputs()["led"] == "OFF"


async def test_when_the_power_goes_the_broker_says_offline(board: MicroPythonBoard, site: tuple[int, Watcher]) -> None:
    port, watcher = site
    power_on(board, port)
    await until(lambda: watcher.on(D + "twin/update"))
    board.kill()
    await until(lambda: watcher.on(D + "state/update")[-1]["state"] == "offline")
    board.start()
    await until(lambda: watcher.on(D + "state/update")[-1]["state"] == "online")


async def test_a_board_that_is_stopped_is_offline_too(board: MicroPythonBoard, site: tuple[int, Watcher]) -> None:
    port, watcher = site
    power_on(board, port)
    await until(lambda: watcher.on(D + "twin/update"))
    board.stop()
    assert not board.running
    await until(lambda: watcher.on(D + "state/update")[-1]["state"] == "offline")


async def test_a_board_logs_in_as_its_device_and_needs_only_its_own_topics(board: MicroPythonBoard) -> None:
    secret = hash_password("s3cret")
    users = Users([device_user(NAME, secret), full_user("site", secret)])
    async with built_in_broker(users) as port, Watcher(port, "site", "s3cret") as watcher:
        power_on(board, port, user=NAME, password="wrong")
        await until(lambda: losses(board))
        assert "event=link_lost reason='connection refused with code" in board.console.read_text()
        board.kill()
        power_on(board, port, password="s3cret")
        await until(lambda: watcher.on(D + "twin/update"))
        watcher.say(D + "twin/update/delta", delta(led="ON"))
        await until(lambda: board.outputs()["led"] == "ON")


# --- with a broker that does not


FAULTS = [
    pytest.param({"puback": False}, "no PUBACK", id="never-acknowledges"),
    pytest.param({"frozen": True}, "no P", id="half-open"),  # PUBACK or PINGRESP, whichever is missed first
    pytest.param({"cut_after": 3}, "closed by the broker", id="ends-within-a-packet"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
async def test_the_board_notices_and_comes_back(
    board: MicroPythonBoard, faulty: FaultyBroker, fault: dict[str, object], reason: str
) -> None:
    power_on(board, faulty.port)
    await faulty.until(lambda: reports(faulty))
    await faulty.change(**fault)
    await until(lambda: f"event=link_lost reason='{reason}" in board.console.read_text())
    await faulty.change(puback=True, frozen=False, cut_after=None)
    await faulty.until(lambda: greeted(faulty, 1))
    state, report = faulty.last.published[:2]
    assert json.loads(state.payload)["state"] == "online"
    assert set(values(json.loads(report.payload))) == {"temperature", "led", "interval"}


@pytest.mark.parametrize(
    "fault", [{"connack": 5}, {"connack": None}, {"suback": None}, {"suback": 128}, {"listen": False}]
)
async def test_the_board_tries_until_it_is_let_in(
    board: MicroPythonBoard, faulty: FaultyBroker, fault: dict[str, object]
) -> None:
    await faulty.change(**fault)
    power_on(board, faulty.port)
    await until(lambda: losses(board))
    assert not faulty.published
    await faulty.change(connack=0, suback=1, listen=True)
    await faulty.until(lambda: reports(faulty))


async def test_retries_begin_within_a_second_and_back_off(board: MicroPythonBoard, faulty: FaultyBroker) -> None:
    await faulty.change(connack=5)
    power_on(board, faulty.port)
    await until(lambda: len(losses(board)) == 3)
    assert all(pause < ceiling for pause, ceiling in zip(losses(board), (1000, 2000, 4000), strict=True))


async def test_two_boards_do_not_wait_alike(tmp_path: Path, umqtt: Path, faulty: FaultyBroker) -> None:
    await faulty.change(connack=5)
    pauses = []
    for number in range(2):
        board = MicroPythonBoard(tmp_path / str(number), {**QUICK, "port": faulty.port}, umqtt=umqtt)
        with board:
            await until(partial(losses, board))
            pauses.append(losses(board)[0])
    assert pauses[0] != pauses[1]


async def test_outputs_and_readings_go_on_without_a_link_and_only_the_newest_is_told(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    power_on(board, faulty.port)
    await faulty.until(lambda: reports(faulty))
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(interval="50")).encode())
    await faulty.until(lambda: any(values(report).get("interval") == "50" for report in reports(faulty)))
    await faulty.change(connack=5)
    faulty.drop()
    await until(lambda: len(losses(board)) == 2)
    before = reports(faulty)
    await faulty.change(connack=0)
    await faulty.until(lambda: len(reports(faulty)) > len(before) + 3)
    after = reports(faulty)[len(before) :]
    assert set(values(after[0])) == {"temperature", "led", "interval"}
    assert "temperature" in values(after[1])  # one report for all that was missed, then the next change
    assert len(values(after[1])) == 1


async def test_source_times_increase_over_every_loss(board: MicroPythonBoard, faulty: FaultyBroker) -> None:
    power_on(board, faulty.port)
    for visit in range(3):
        await faulty.until(partial(greeted, faulty, visit))
        faulty.drop()
    seen: dict[str, int] = {}
    for report in reports(faulty):
        for name, twin in report["twin"].items():
            assert twin["actual"]["metadata"]["timestamp"] > seen.get(name, 0)
            seen[name] = twin["actual"]["metadata"]["timestamp"]
    assert set(seen) == {"temperature", "led", "interval"}


async def test_a_link_that_worked_is_retried_at_once_however_often_it_was_lost(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    code = """
station = Station(Agent("default/b1", board.properties, log), link, board, Backoff(lambda: 0.2), clock)
connections = 0
while connections < 4:
    before = link.connected
    station.step()
    connections += link.connected and not before
    if link.connected and link.acknowledged > 1:
        link.close()
        station._lost(OSError("cut"))
"""
    out = await on_micropython(STATION.format(folder=str(tmp_path)) + code, port=faulty.port)
    assert re.findall(r"retry_ms=(\d+)", "\n".join(out)) == ["200", "200", "200"]


STATION = """
from device_fw import boards
from device_fw.firmware.agent import Agent
from device_fw.firmware.config import check
from device_fw.firmware.log import log
from device_fw.firmware.properties import Property
from device_fw.firmware.retry import Backoff
from device_fw.firmware.station import Station
import os
os.chdir({folder!r})
board = boards.load(check({{"name": "default/b1", "host": "x"}}))
"""

UPDATER = """
class Updater:
    kinds = ("ota/offer", "ota/chunk")
    state = "idle"
    wanted = None
    contacts = turns = 0
    def properties(self):
        return {"firmware-state": Property()}
    def read(self, name):
        assert name == "firmware-state"
        return self.state
    def on_message(self, kind, payload, now_ms):
        if kind == "ota/offer":
            self.state = "downloading"
            self.wanted = "ota/get", b"\\x00\\xff", 1
        else:
            self.state = payload.decode()
    def tick(self, now_ms):
        wanted, self.wanted = self.wanted, None
        return wanted
    def contact(self, now_ms):
        self.contacts += 1
    def alive(self, now_ms):
        self.turns += 1
updater = Updater()
properties = dict(board.properties)
properties.update(updater.properties())
station = Station(Agent("default/b1", properties, log), link, board, Backoff(lambda: 0.2), clock, updater)
while updater.state != "confirmed":
    station.step()
print(updater.contacts > 2, updater.turns > updater.contacts)
"""


async def test_an_updater_gets_its_messages_reports_itself_and_speaks_when_the_agent_is_silent(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    def states() -> list[str | None]:
        return [values(report).get("firmware-state") for report in reports(faulty)]

    async def gateway() -> None:
        await faulty.until(lambda: states() == ["idle"])
        await faulty.publish(D + "ota/offer", b"{}")
        await faulty.until(lambda: faulty.published[-1].topic == D + "ota/get")
        assert faulty.published[-1].payload == b"\x00\xff"
        assert states()[-1] == "downloading"
        await faulty.publish(D + "ota/chunk", b"trial", packet_id=2)
        await faulty.until(lambda: states()[-1] == "trial")
        await faulty.publish(D + "ota/chunk", b"confirmed", packet_id=3)

    code = STATION.format(folder=str(tmp_path)) + UPDATER
    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), gateway())
    assert out[-1] == "True True"
    kinds = ("twin/update/delta", "twin/update/result", "ota/offer", "ota/chunk")
    assert [topic for topic, _ in faulty.last.subscribed] == [D + kind for kind in kinds]


async def test_what_a_board_does_not_use_is_not_imported(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    code = """
import sys
from device_fw.firmware import parts
parts.station(check({"name": "default/b1", "host": "127.0.0.1"}))
used = [name.split(".")[-1] for name in sys.modules if name.startswith("device_fw.firmware.")]
print([name for name in ("mqtt_link", "serial_link", "update") if name in used])
"""
    out = await on_micropython(STATION.format(folder=str(tmp_path)) + code, port=faulty.port)
    assert out == ["['mqtt_link']"]


async def test_an_output_is_reported_at_once_and_a_new_interval_counts_at_once(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    power_on(board, faulty.port)
    await faulty.until(lambda: reports(faulty))
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(interval="3600000")).encode())
    await faulty.until(lambda: values(reports(faulty)[-1]).get("interval") == "3600000")
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(led="ON")).encode(), packet_id=2)
    await faulty.until(lambda: values(reports(faulty)[-1]) == {"led": "ON"})
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(interval="50")).encode(), packet_id=3)
    await faulty.until(lambda: "temperature" in values(reports(faulty)[-1]))


async def test_a_refused_report_is_sent_again_when_the_device_may_be_known(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    power_on(board, faulty.port)
    await faulty.until(lambda: reports(faulty))
    refusal = {"event_id": "2", "timestamp": 1, "code": 404, "reason": "no device default/b1"}
    await faulty.publish(D + "twin/update/result", json.dumps(refusal).encode())
    states = [m for m in faulty.published if m.topic == D + "state/update"]
    await faulty.until(lambda: len([m for m in faulty.published if m.topic == D + "state/update"]) > len(states))
    assert "event=report_refused code=404 event_id=2 reason='no device default/b1'" in board.console.read_text()


async def test_a_message_larger_than_the_board_takes_does_not_cut_it_off(
    board: MicroPythonBoard, faulty: FaultyBroker
) -> None:
    power_on(board, faulty.port, max_packet=4096)
    await faulty.until(lambda: reports(faulty))
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(led="ON", other="x" * 10_000_000)).encode())
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(led="ON")).encode(), packet_id=2)
    await faulty.until(lambda: any(values(report).get("led") == "ON" for report in reports(faulty)))
    assert len(faulty.visits) == 1


# --- the board itself


async def test_it_runs_with_a_heap_of_96_kilobytes(tmp_path: Path, umqtt: Path, faulty: FaultyBroker) -> None:
    config = {**QUICK, "port": faulty.port}
    with MicroPythonBoard(tmp_path, config, umqtt=umqtt, heap="96k", as_bytecode=True) as board:
        await faulty.until(lambda: reports(faulty))
        await faulty.publish(D + "twin/update/delta", json.dumps(delta(led="ON", interval="50")).encode())
        await faulty.until(lambda: len(reports(faulty)) > 20)
        assert board.running
        found = re.search(r"heap_used=(\d+)", board.console.read_text())
        assert found is not None
        assert int(found[1]) <= 60 * 1024  # kB as in the 96k above


async def test_outputs_are_at_their_defaults_after_a_power_cut(board: MicroPythonBoard, faulty: FaultyBroker) -> None:
    power_on(board, faulty.port)
    await faulty.until(lambda: reports(faulty))
    await faulty.publish(D + "twin/update/delta", json.dumps(delta(led="ON")).encode())
    await faulty.until(lambda: values(reports(faulty)[-1]).get("led") == "ON")
    board.kill()
    board.start()
    await faulty.until(lambda: greeted(faulty, 1))
    assert board.outputs()["led"] == "OFF"
    assert values(reports(faulty)[-1])["led"] == "OFF"


async def test_the_same_seed_gives_the_same_temperatures(tmp_path: Path, umqtt: Path, faulty: FaultyBroker) -> None:
    first = []
    for number, seed in enumerate((7, 7, 8)):
        config = {**QUICK, "port": faulty.port, "seed": seed}
        with MicroPythonBoard(tmp_path / str(number), config, umqtt=umqtt):
            await faulty.until(partial(greeted, faulty, number))
            first.append(values(json.loads(faulty.last.published[1].payload))["temperature"])
    assert first[0] == first[1] != first[2]


async def test_a_property_the_board_does_not_have_is_named_on_its_console(board: MicroPythonBoard) -> None:
    power_on(board, 1, properties={"humidity": {"type": "float"}})
    await until(lambda: not board.running)
    assert "this board has no property humidity; it has interval, led, temperature" in board.console.read_text()


_PARENT = """
import json, pathlib, sys
from hil_tests.bench.micropython_board import MicroPythonBoard
folder, config, umqtt = sys.argv[1:]
MicroPythonBoard(pathlib.Path(folder), json.loads(config), umqtt=pathlib.Path(umqtt)).start()
sys.stdin.read()
"""


async def test_a_board_goes_with_the_process_that_started_it(tmp_path: Path, umqtt: Path, faulty: FaultyBroker) -> None:
    config = json.dumps({**QUICK, "port": faulty.port})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-c", _PARENT, str(tmp_path), config, str(umqtt))
    parent = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, env=environment)
    try:
        await faulty.until(lambda: reports(faulty))
    finally:
        parent.kill()
        await parent.communicate()
    await faulty.until(lambda: faulty.last.over)
    assert not faulty.last.left
