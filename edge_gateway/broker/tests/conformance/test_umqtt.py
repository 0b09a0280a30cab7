"""The brokers as a board sees them: umqtt.simple on the real MicroPython, one process a client."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_fw.tools import firmware
from edge_gateway.broker.tests.brokers import DEADLINE_S, ROOT, BrokerProcess, Raw
from hil_tests.bench.micropython_board import Unavailable, command, environment

BOARD = """
import json, sys
from umqtt.simple import MQTTClient, MQTTException

order = json.loads(sys.argv[1])
client = MQTTClient(order["id"], "127.0.0.1", order["port"], order.get("user"), order.get("password"), order.get("keepalive", 0))
got = []
client.set_callback(lambda topic, payload: got.append([topic.decode(), payload.decode()]))
if "will" in order:
    client.set_last_will(order["will"], b"offline", order["retain"], order["qos"])
try:
    present = client.connect(clean_session=order.get("clean", True))
except MQTTException as error:
    print(json.dumps({"refused": error.args[0]}))
    sys.exit()
for name, qos in order.get("subscribe", ()):
    client.subscribe(name, qos)
for name, payload, retain, qos in order.get("publish", ()):
    client.publish(name, payload, retain, qos)
while len(got) < order.get("expect", 0):
    client.wait_msg()
client.ping()
client.wait_msg()  # so the broker has what came before it
if order.get("leave", True):
    client.disconnect()
print(json.dumps({"present": bool(present), "got": got}))
"""
Board = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board's flash: the client above and umqtt.simple."""
    try:
        umqtt = firmware.umqtt_simple(ROOT / firmware.CACHE)
        command()
    except (Unavailable, firmware.FirmwareError) as why:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("board")
    (folder / "umqtt").mkdir()
    shutil.copyfile(umqtt, folder / "umqtt" / "simple.py")
    (folder / "main.py").write_text(BOARD)
    return folder


@pytest.fixture
def board(broker: BrokerProcess, folder: Path) -> Board:
    """Runs a board until it is done; what it says."""
    return lambda **order: run(broker, folder, order)


def run(broker: BrokerProcess, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    line = command("main.py", json.dumps({**order, "port": broker.port}))
    done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("qos", [0, 1])
def test_a_board_hears_itself(board: Board, name: str, qos: int) -> None:
    said = board(id=name, subscribe=[[name, qos]], publish=[[name, "x", False, qos]] * 3, expect=3)
    assert said == {"present": False, "got": [[name, "x"]] * 3}


def test_what_was_published_with_qos_2_reaches_a_board_with_qos_1(
    board: Board, raw: Callable[..., Raw], name: str
) -> None:
    board(id=name, clean=False, subscribe=[[name, 1]])
    raw(name + "p").publish(name, b"exact", 2)
    assert board(id=name, clean=False, expect=1) == {"present": True, "got": [[name, "exact"]]}


def test_a_board_gets_what_it_missed_in_order_and_acknowledges_it(
    board: Board, raw: Callable[..., Raw], name: str
) -> None:
    board(id=name, clean=False, subscribe=[[name, 1]])
    publisher = raw(name + "p")
    for number in range(40):  # more than the window
        publisher.publish(name, b"%d" % number)
    assert board(id=name, clean=False, expect=40)["got"] == [[name, str(number)] for number in range(40)]
    assert board(id=name, clean=False) == {"present": True, "got": []}


def test_a_board_finds_retained_messages(board: Board, name: str) -> None:
    board(id=name, publish=[[name, "kept", True, 1]])
    assert board(id=name, subscribe=[[name, 1]], expect=1)["got"] == [[name, "kept"]]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_board_that_stops_without_a_word_leaves_its_will(
    board: Board, raw: Callable[..., Raw], name: str, qos: int
) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, qos=2)
    board(id=name, will=name, retain=False, qos=qos, leave=False)
    packet = watcher.next()
    assert (packet.payload, packet.qos) == (b"offline", qos)


def test_a_board_without_a_client_id_cannot_have_a_session(board: Board) -> None:
    assert board(id="", clean=False) == {"refused": 2}


@pytest.mark.parametrize(("password", "said"), [("boss", {"present": False, "got": []}), ("wrong", {"refused": 5})])
def test_a_board_gives_user_and_password(
    guarded: BrokerProcess, folder: Path, password: str, said: dict[str, Any]
) -> None:
    assert run(guarded, folder, {"id": "board", "user": "boss", "password": password}) == said
