"""Wi-Fi's shell in a whole board on the real MicroPython. The radio is emulated, the only part of the board that is."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tests.conftest import RunOnMicroPython
from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tests.watcher import until
from hil_tests.bench.micropython_board import MicroPythonBoard

RADIO = Path(__file__).parent / "emulated_network.py"


class Site:
    """A board with a radio, and what is in the air."""

    def __init__(self, folder: Path, umqtt: Path) -> None:
        folder.mkdir()
        shutil.copy(RADIO, folder / "network.py")
        config = {
            "name": "default/b1",
            "host": "127.0.0.1",
            "timeout_ms": 300,
            "wifi_ssid": "hall",
            "wifi_password": "p",
        }
        self.board = MicroPythonBoard(folder, config, umqtt=umqtt)
        self._air: dict[str, object] = {"network": True, "password": "p", "joins": 2, "broken": False}
        self.change()

    def change(self, **air: object) -> None:
        self._air.update(air)
        made = self.board.folder / "air.new"
        made.write_text(json.dumps(self._air))
        made.rename(self.board.folder / "air.json")

    def start(self, port: int) -> None:
        self.board.config["port"] = port
        self.board.start()

    def said(self, event: str) -> list[str]:
        """Lines of the console that tell this event."""
        text = self.board.console.read_text() if self.board.console.exists() else ""
        return re.findall(rf"^event={event}(?: .*)?$", text, re.MULTILINE)

    def radio(self) -> list[str]:
        """What the firmware asked of the radio."""
        return (self.board.folder / "radio.log").read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path, umqtt: Path) -> Iterator[Site]:
    made = Site(tmp_path / "board", umqtt)
    yield made
    made.board.kill()


async def test_a_board_joins_and_then_connects(site: Site, faulty: FaultyBroker) -> None:
    site.start(faulty.port)
    await faulty.until(lambda: faulty.published)
    assert site.said("wifi") == ["event=wifi address=127.0.0.1 ssid=hall"]
    assert site.radio()[:3] == ["hostname b1", "on", "join hall"]


@pytest.mark.parametrize(
    ("air", "reason"),
    [
        ({"network": False}, "no such network in reach"),
        ({"password": "other"}, "wrong password"),
        ({"broken": True}, "Wifi Internal Error"),
    ],
)
async def test_a_board_that_cannot_join_says_why_and_tries_until_it_can(
    site: Site, faulty: FaultyBroker, air: dict[str, object], reason: str
) -> None:
    before = {name: site._air[name] for name in air}
    site.change(**air)
    site.start(faulty.port)
    await until(lambda: len(site.said("wifi_failed")) == 2)
    assert all(f"reason='{reason}'" in line for line in site.said("wifi_failed"))
    assert not faulty.visits
    assert not site.said("link_lost")
    site.change(**before)
    await faulty.until(lambda: faulty.published)


async def test_a_network_that_goes_takes_the_link_with_it_and_brings_it_back(site: Site, faulty: FaultyBroker) -> None:
    site.start(faulty.port)
    await faulty.until(lambda: faulty.published)
    site.change(network=False)
    await faulty.until(lambda: faulty.last.over)
    await until(lambda: site.said("wifi_failed"))
    assert site.said("wifi_lost") == ["event=wifi_lost ssid=hall"]
    assert "reason='no network'" in site.said("link_lost")[0]
    site.change(network=True)
    await faulty.until(lambda: len(faulty.visits) == 2 and faulty.last.published)


async def test_a_try_that_does_not_end_is_given_up_and_a_stuck_radio_switched_off_and_on(
    on_micropython: RunOnMicroPython, tmp_path: Path
) -> None:
    shutil.copy(RADIO, tmp_path / "network.py")
    (tmp_path / "air.json").write_text('{"network": true, "password": "p", "joins": -1}')
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
sys.path.insert(0, {str(tmp_path)!r})
from device_fw.firmware.retry import Backoff
from device_fw.firmware.wifi import Wifi
wifi = Wifi("hall", "p", "b1", Backoff(lambda: 0.5))
now = 0
while now < 100000:
    assert wifi.tick(now) is False
    assert wifi.wait_ms(now) <= 100 or wifi._joining_ms is None
    now += max(1, wifi.wait_ms(now))
"""
    out = await on_micropython(code, port=1)
    assert re.findall(r"retry_ms=(\d+)", "\n".join(out)) == ["500", "1000", "2000", "4000"]
    assert all("reason='not joined in time'" in line for line in out)
    radio = (tmp_path / "radio.log").read_text().splitlines()
    assert radio == ["hostname b1", "on", "join hall", "join hall", "join hall", "off", "on", "join hall", "join hall"]
