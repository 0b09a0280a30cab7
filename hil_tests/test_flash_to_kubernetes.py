"""`hedgerow flash`, the command itself: from a box with an ESP32 to a device in Kubernetes, and what it says when it cannot."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from device_fw.tools.flash_board import BoardConnection
from hedgerow.stack import free_port, listens, until
from hil_tests.bench import esp_image, updates
from hil_tests.bench.esp_rom import EspRom
from hil_tests.bench.mosquitto import MosquittoMissing, mosquitto
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import Site, missing, running_site

ROOT = Path(__file__).resolve().parents[1]
RUN_S = 100
BOARD_FILE = """
board: unix
name: greenhouse
properties:
  temperature: {driver: simulated, interval_ms: 100}
  pump: {driver: digital_out, pin: 3}
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board with an empty flash, on; with a heap for 64-bit objects."""
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=updates.HEAP_KB)
    except Unavailable as error:
        missing(str(error))
    with made:
        yield made


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    """What the board is to be."""
    path = tmp_path / "greenhouse.yaml"
    path.write_text(BOARD_FILE)
    return path


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


async def hedgerow(*arguments: object, **environment: str) -> Done:
    """Run the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hedgerow", *map(str, arguments)),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(RUN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())


def reported(site: Site, name: str) -> str:
    """What the greenhouse reported of a property last."""
    view = site.cluster.devices.get("default/greenhouse")
    found = view.reported(name) if view is not None else None
    return found.value if found is not None else ""


@pytest.mark.timeout(240)
async def test_an_esp32_from_its_box_becomes_a_device_in_kubernetes(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    with BoardConnection(board.port) as connection:
        facts = connection.facts()
    image = tmp_path / "micropython.bin"
    image.write_bytes(esp_image.made(90_000, f"{facts.banner}; {facts.machine}"))
    async with running_site(tmp_path / "site") as site:
        with EspRom(runs=lambda: os.path.realpath(board.port)) as chip:
            command = (
                *("flash", board_file, "--port", chip.port, "--no-stub", "--runtime", image, "--apply"),
                *("--gateway", f"127.0.0.1:{site.stack.ports.mqtt}", "--kubeconfig", site.stack.kubeconfig),
                *("--users", tmp_path / "users.yaml", "--data", tmp_path / "data"),
            )
            done = await hedgerow(*command)
            assert done.status == 0, done.err
            assert f"Write {facts.banner} for esp32" in done.err
            assert "Let default/greenhouse in at the broker" in done.err
            await site.until("the board reports", lambda: reported(site, "temperature") != "")
            assert reported(site, "pump") == "false"
            await site.cluster.set_desired("default/greenhouse", "pump", "true")
            await site.until("the pump runs", lambda: reported(site, "pump") == "true")
            again = await hedgerow(*command)
            assert again.status == 0, again.err
            assert f"{facts.banner} is there" in again.err
            assert "0 files written, 0 removed" in again.err
    listed = await hedgerow("boards", "--json", "--data", tmp_path / "data", "--where", "device~greenhouse")
    (entry,) = json.loads(listed.out)
    assert (entry["board"], entry["unique_id"], entry["runtime"]) == ("unix", facts.unique_id, facts.release)
    assert len(entry["image"]) == 64


@pytest.mark.timeout(240)
async def test_a_board_flashed_with_a_key_takes_updates_and_keeps_what_it_knows_of_them(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    key = tmp_path / "site.key"
    assert (await hedgerow("ota", "keygen", key)).status == 0
    async with running_site(tmp_path / "site") as site:
        command = (
            *("flash", board_file, "--port", board.port, "--apply", "--kubeconfig", site.stack.kubeconfig),
            *("--gateway", f"127.0.0.1:{site.stack.ports.mqtt}", "--data", tmp_path / "data"),
        )
        first = await hedgerow(*command, "--key", key, "--version", "1.4.0")
        assert first.status == 0, first.err
        await site.until("the board says its version", lambda: reported(site, "firmware") == "1.4.0")
        again = await hedgerow(*command, "--key", key, "--version", "1.4.0")
        assert again.status == 0, again.err
        assert "0 files written, 0 removed" in again.err
        newer = await hedgerow(*command, "--key", key, "--version", "1.5.0")
        assert newer.status == 0, newer.err
        await site.until("the board says its new version", lambda: reported(site, "firmware") == "1.5.0")
        refused = await hedgerow(*command)
        assert refused.status == 1
        assert "takes updates over the air, and would not any more: give the key" in refused.err
        await site.until("it runs all the same", lambda: reported(site, "firmware") == "1.5.0")
        plain = await hedgerow(*command, "--no-updates")
        assert plain.status == 0, plain.err
    board.power_off()
    found = board.files()
    assert "main.py" in found
    assert not any(path.startswith(("a/", "b/", "recovery/", "hedgerow_boot/", "slots.json")) for path in found)


async def test_a_bundle_is_flashed_as_it_was_signed(board: UnixBoard, board_file: Path, tmp_path: Path) -> None:
    key, bundle = tmp_path / "site.key", tmp_path / "greenhouse.hfw"
    assert (await hedgerow("ota", "keygen", key)).status == 0
    built = await hedgerow("ota", "build", board_file, "--key", key, "--version", "2.0.0", "-o", bundle)
    assert built.status == 0, built.err
    command = ("flash", board_file, "--port", board.port, "--gateway", "gw", "--wait", 0, "--data", tmp_path)
    done = await hedgerow(*command, "--bundle", bundle, "--key", f"{key}.pub")
    assert done.status == 0, done.err
    await asyncio.to_thread(board.expect, "event=boot .*version='2.0.0'")
    model, _ = yaml.safe_load_all(done.out)
    assert "firmware-state" in [p["name"] for p in model["spec"]["properties"]]
    await asyncio.to_thread(board_file.write_text, BOARD_FILE.replace("board: unix", "board: pico_w"))
    wrong = await hedgerow(*command, "--bundle", bundle, "--key", f"{key}.pub")
    assert wrong.status == 1
    assert "this firmware is for pico_w" in wrong.err
    alone = await hedgerow(*command, "--bundle", bundle)
    assert (alone.status, "--key FILE.pub" in alone.err) == (2, True)


async def test_manifests_are_printed_with_the_user_that_the_broker_needs(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    command = ("flash", board_file, "--port", board.port, "--gateway", "gateway", "--wait", 0, "--data", tmp_path)
    dry = await hedgerow(*command, "--dry-run")
    assert (dry.status, "Would write main.py" in dry.err, "scrypt" in dry.err) == (0, True, False), dry.err
    assert "files would be written, 0 removed" in dry.err
    assert not (await hedgerow("boards", "--json", "--data", tmp_path)).out.strip("[]\n")
    done = await hedgerow(*command, "--wifi", "hall", HEDGEROW_WIFI_PASSWORD="secret")
    assert done.status == 0, done.err
    model, device = yaml.safe_load_all(done.out)
    assert [p["name"] for p in model["spec"]["properties"]] == ["temperature", "pump"]
    assert (device["metadata"]["name"], device["spec"]["nodeName"]) == ("greenhouse", "edge-1")
    assert "- name: default/greenhouse\n    password: scrypt$" in done.err
    assert "secret" not in done.out + done.err
    board.power_off()
    config = json.loads(board.files()["config.json"])
    assert (config["host"], config["wifi_ssid"], config["wifi_password"]) == ("gateway", "hall", "secret")


async def test_a_board_that_speaks_over_its_usb_line_is_interrupted_and_flashed_again(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    await asyncio.to_thread(board_file.write_text, BOARD_FILE + "transport: serial\n")
    first = await hedgerow("flash", board_file, "--port", board.port, "--data", tmp_path)
    assert first.status == 0, first.err
    await asyncio.to_thread(board.expect, "event=started")
    again = await hedgerow("flash", board_file, "--port", board.port, "--data", tmp_path)
    assert again.status == 0, again.err
    assert "0 files written, 0 removed" in again.err
    assert yaml.safe_load(again.out.split("---")[1])["spec"]["protocol"]["protocolName"] == "serial"


async def test_a_board_that_the_gateway_does_not_hear_is_named_with_what_its_console_says(
    board_file: Path, tmp_path: Path
) -> None:
    try:
        small = UnixBoard(tmp_path / "small", heap_kb=40)  # too little for the firmware
        with small, mosquitto(tmp_path) as port:
            gateway = ("--gateway", f"127.0.0.1:{port}", "--data", tmp_path)
            done = await hedgerow("flash", board_file, "--port", small.port, *gateway, "--wait", "6")
    except (Unavailable, MosquittoMissing) as error:
        missing(str(error))
    assert done.status == 1
    assert f"default/greenhouse says nothing at 127.0.0.1:{port} within 6 s" in done.err
    assert "Its console says:" in done.err
    assert "MemoryError" in done.err
    listed = await hedgerow("boards", "--json", "--data", tmp_path)
    assert json.loads(listed.out)[0]["device"] == "default/greenhouse"  # flashed it is


async def test_a_gateway_that_asks_for_passwords_lets_the_new_device_in(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    users, port = tmp_path / "edge" / "users.yaml", free_port()
    users.parent.mkdir()
    await asyncio.to_thread(users.write_text, "users: []\n")
    settings = {"node": "edge-1", "data_dir": str(users.parent), "broker": {"port": port, "users_file": users.name}}
    await asyncio.to_thread((tmp_path / "edgecore.yaml").write_text, yaml.safe_dump(settings))
    edgecore = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_gateway", str(tmp_path / "edgecore.yaml")),
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: listens(port), lambda: "edgecore's broker does not start")
        command = ("flash", board_file, "--port", board.port, "--gateway", f"127.0.0.1:{port}", "--data", tmp_path)
        done = await hedgerow(*command, "--users", users)
        assert done.status == 0, done.err
        assert "reported, and the gateway refused it" in done.err  # no Kubernetes has told it of the device
        stranger = await hedgerow(*command, "--wait", "0")
        assert "0 files written" in stranger.err
    finally:
        edgecore.terminate()
        await edgecore.wait()


async def test_a_gateway_that_is_not_there_is_named_after_the_board_is_complete(
    board: UnixBoard, board_file: Path, tmp_path: Path
) -> None:
    gateway = ("--gateway", "127.0.0.1:1", "--data", tmp_path)
    done = await hedgerow("flash", board_file, "--port", board.port, *gateway)
    assert done.status == 1
    assert "the board is flashed, but no broker answers at 127.0.0.1:1" in done.err
    assert "--wait 0" in done.err


async def test_errors_end_with_status_1_and_what_to_do(board_file: Path, tmp_path: Path) -> None:
    done = await hedgerow("flash", board_file, "--port", "/dev/ttyNONE", "--data", tmp_path)
    assert done.status == 1
    assert done.err.startswith("hedgerow: no board at '/dev/ttyNONE'")
    done = await hedgerow("flash", board_file.with_name("none.yaml"))
    assert "cannot read" in done.err


async def test_a_mistake_in_the_board_file_is_named_in_one_line(board_file: Path) -> None:
    misspelt = BOARD_FILE.replace("simulated", "simulatd")
    await asyncio.to_thread(board_file.write_text, misspelt)
    done = await hedgerow("flash", board_file)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "did you mean 'simulated'?" in done.err


async def test_the_inventory_is_listed_asked_and_forgotten(tmp_path: Path) -> None:
    from device_fw.tests.test_inventory import ESP, PICO
    from device_fw.tools.inventory import Inventory

    Inventory(tmp_path / "boards.json").record(PICO)
    Inventory(tmp_path / "boards.json").record(ESP)
    done = await hedgerow("boards", "--data", tmp_path)
    head, *lines = done.out.splitlines()
    assert head.split()[:4] == ["DEVICE", "BOARD", "FIRMWARE", "IMAGE"]
    assert [line.split()[0] for line in lines] == ["default/greenhouse-1", "plant/boiler"]
    assert "plant/boiler" not in (await hedgerow("boards", "--data", tmp_path, "--where", "board=pico_w")).out
    wrong = await hedgerow("boards", "--data", tmp_path, "--where", "bord=pico_w")
    assert (wrong.status, "did you mean 'board'" in wrong.err) == (1, True)
    gone = await hedgerow("boards", "forget", "boiler", "--data", tmp_path)
    assert gone.out == "plant/boiler (246f) forgotten\n"
    assert (await hedgerow("boards", "forget", "boiler", "--data", tmp_path)).status == 1
