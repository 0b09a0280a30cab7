"""What heap the firmware with updates takes where objects have 32 bits, as on microcontrollers: measured on MicroPython's
WebAssembly port under Node.js, from the same bytecode that boards get.

It is what is in use once the station is built: the boot code, the updater, MQTT, one simulated sensor. Sockets, pins and the
watchdog are a port's own and are stood in for, uncounted. Needs `node` and `npm`; without them it says so and measures nothing.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.results import Figure, Figures
from hil_tests.bench import updates

PORT = "@micropython/micropython-webassembly-pyscript"
VERSION = "1.27.0"
_CACHE = Path(".hedgerow/cache/webassembly")
_SCRIPT = Path(__file__).with_suffix(".mjs")
_DEADLINE_S = 120


async def measure() -> Figures:
    """One figure, or none where there is no Node.js."""
    return await asyncio.to_thread(_measure)


def _measure() -> Figures:
    if not shutil.which("node") or not shutil.which("npm"):
        print("heap_32_bit: not measured, there is no node or no npm")
        return {}
    port = _CACHE / "node_modules" / PORT
    if not port.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--prefix", str(_CACHE), f"{PORT}@{VERSION}")
    with tempfile.TemporaryDirectory() as folder:
        for path, content in updates.flash(updates.build("1.0.0", 1), "default/b1", 1883).items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        found = json.loads(_run("node", str(_SCRIPT), str(port.absolute()), folder))
    used = found["bare"] + found["boot"] + found["firmware"]
    about = f"in use with updates and one sensor, 32-bit objects; boot code {found['boot'] / 1000:.1f}"
    return {"firmware_heap_32_bit_kb": Figure(used / 1000, "kB", {"aim, at most": 60}, about)}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_DEADLINE_S).stdout
