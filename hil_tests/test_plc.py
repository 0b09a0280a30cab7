"""The emulated PLC as a process: its values move, and its state file follows what is written to it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pymodbus.client import ModbusTcpClient

from hil_tests.bench.mosquitto import free_port

DEADLINE_S = 10.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_values_move_and_written_registers_are_in_the_state_file(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "plc.json"
    command = [sys.executable, "-m", "hil_tests.bench.plc", "--port", str(port), "--state-file", str(state)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(state.exists)
            assert json.loads(state.read_text()) == {"boiler/pump": True, "boiler/setpoint": 60.0, "meter/tariff": 1.0}
            client = ModbusTcpClient("127.0.0.1", port=port)
            try:
                assert client.connect()  # type: ignore[no-untyped-call]
                client.write_register(0, 715, device_id=1)
                until(lambda: json.loads(state.read_text())["boiler/setpoint"] == 71.5)
                client.write_coil(0, False, device_id=1)
                until(lambda: json.loads(state.read_text())["boiler/pump"] is False)
                counted = client.read_input_registers(20, count=2, device_id=2).registers
                until(lambda: client.read_input_registers(20, count=2, device_id=2).registers != counted)
            finally:
                client.close()  # type: ignore[no-untyped-call]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(DEADLINE_S)
        assert process.stderr is not None
        assert (code, "Traceback" in process.stderr.read()) == (0, False)
