"""The board's time on the real MicroPython: from an NTP server that answers or does not, and from a gateway that knows better."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from device_fw.tests.conftest import RunOnMicroPython
from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tests.watcher import until

D = "$hw/events/device/default/b1/"
T = 1795411715000
Answer = Callable[[bytes], bytes]


class NtpServer(asyncio.DatagramProtocol):
    """Answers what the test says; `heard` are the questions."""

    def __init__(self, answer: Answer) -> None:
        self.heard: list[bytes] = []
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.heard.append(data)
        if answer := self.answer(data):
            self._transport.sendto(answer, address)


def says(unix_ms: int, stratum: int = 1) -> Answer:
    """An answer as a server of the standard gives it."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    sent = (seconds + 2208988800).to_bytes(4, "big") + (milliseconds * (1 << 32) // 1000 + 1).to_bytes(4, "big")
    return lambda asked: bytes([0x24, stratum]) + bytes(22) + asked[40:48] + bytes(8) + sent


@contextlib.asynccontextmanager
async def ntp_server(answer: Answer) -> AsyncIterator[NtpServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NtpServer(answer), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


SNTP = """
from device_fw.firmware import sntp
from device_fw.firmware.retry import Backoff
sntp.ANSWER_MS = 300
asked = sntp.Sntp("127.0.0.1", Backoff(lambda: 0.1), {port})
def ask(for_ms=2000):
    end = clock.now() + for_ms
    while clock.now() < end:
        found = asked.tick(clock.now())
        if found:
            return found
    return 0
"""


async def test_the_time_of_a_server_is_taken_and_asked_again_after_an_hour(on_micropython: RunOnMicroPython) -> None:
    async with ntp_server(says(T)) as server:
        code = SNTP.format(port=server.port) + "print(ask(), asked.wait_ms(clock.now()) > 3500000)"
        (line,) = await on_micropython(code, port=1)
    found, waits = line.split()
    assert 0 <= int(found) - T <= 300
    assert waits == "True"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: b"", "no answer"),
        (lambda _: b"nonsense", "no NTP answer"),
        (lambda _: says(T)(b"\0" * 48), "an answer to somebody else"),
        (says(T, stratum=0), "the server knows no time"),
    ],
    ids=["silent", "garbage", "not-asked", "kiss-of-death"],
)
async def test_a_server_that_is_of_no_use_is_logged_once_and_asked_again(
    on_micropython: RunOnMicroPython, answer: Answer, reason: str
) -> None:
    async with ntp_server(answer) as server:
        code = SNTP.format(port=server.port) + "print(ask(6000))"

        async def mend() -> None:
            await until(lambda: len(server.heard) == 2)
            server.answer = says(T)

        out, _ = await asyncio.gather(on_micropython(code, port=1), mend())
    assert out[0] == f"event=ntp_failed reason='{reason}' server=127.0.0.1"
    assert int(out[1]) >= T
    assert len(out) == 2
    assert len({question[40:] for question in server.heard}) == len(server.heard)  # no nonce twice


async def test_a_port_where_nobody_listens_is_a_failure_like_any_other(on_micropython: RunOnMicroPython) -> None:
    async with ntp_server(says(T)) as server:
        port = server.port
    code = SNTP.format(port=port) + "print(ask(500))"
    out = await on_micropython(code, port=1)
    assert out[0].startswith("event=ntp_failed reason=")
    assert out[1:] == ["0"]


STATION = """
from device_fw import boards
from device_fw.firmware.agent import Agent
from device_fw.firmware.config import check
from device_fw.firmware.log import log
from device_fw.firmware.retry import Backoff
from device_fw.firmware.station import Station
import os
os.chdir({folder!r})
board = boards.load(check({{"name": "default/b1", "host": "x"}}))
own = {own}
set_to = []
board.unix_ms = lambda: own
board.set_unix_ms = set_to.append
station = Station(Agent("default/b1", board.properties, log), link, board, Backoff(lambda: 0.2), clock, sntp={sntp})
"""


def source_times(broker: FaultyBroker) -> list[dict[str, int]]:
    """Of each report: property -> source time, 0 when there is none."""
    reports = [json.loads(m.payload) for m in broker.published if m.topic == D + "twin/update"]
    return [
        {name: entry["actual"].get("metadata", {}).get("timestamp", 0) for name, entry in report["twin"].items()}
        for report in reports
    ]


async def test_reports_carry_the_servers_time_and_the_boards_clock_is_set(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    async with ntp_server(says(T)) as server:
        code = SNTP.format(port=server.port) + STATION.format(folder=str(tmp_path), own=0, sntp="asked")
        code += """
while not set_to or link.acknowledged < 3:
    station.step()
print(set_to[0])
"""
        out = await on_micropython(code, port=faulty.port)
    assert 0 <= int(out[-1]) - T <= 2000
    assert all(0 <= at - T < 60000 for at in source_times(faulty)[-1].values())


async def test_a_board_that_learns_the_time_connects_at_once(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    async with ntp_server(says(T)) as server:
        code = SNTP.format(port=server.port) + STATION.format(folder=str(tmp_path), own=0, sntp="asked")
        code += """
station._connect_ms = clock.now() + 600000  # TLS has failed for long: no certificate was valid yet
while not link.connected:
    station.step()
print(len(set_to) > 0)
"""
        assert (await on_micropython(code, port=faulty.port))[-1] == "True"


async def test_without_any_clock_the_gateways_answer_gives_the_time(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    code = STATION.format(folder=str(tmp_path), own=0, sntp=None)
    code += """
while link.acknowledged < 3:
    station.step()
"""

    async def gateway() -> None:
        await faulty.until(lambda: source_times(faulty))
        assert set(source_times(faulty)[0].values()) == {0}
        await faulty.publish(D + "twin/update/result", json.dumps({"event_id": "2", "timestamp": T}).encode())
        await faulty.until(lambda: len(source_times(faulty)) > 1)
        assert all(0 <= at - T < 60000 for at in source_times(faulty)[1].values())

    await asyncio.gather(on_micropython(code, port=faulty.port), gateway())


async def test_a_clock_that_jumps_about_while_the_board_runs_gives_increasing_times(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, tmp_path: Path
) -> None:
    code = STATION.format(folder=str(tmp_path), own=T, sntp=None)
    code += """
board.write("interval", 50)
for jump in (0, 3600000, -90000000, 5, -T0, 1 << 50, 200000):
    own = T0 + jump
    until = link.acknowledged + 2
    while link.acknowledged < until:
        station.step()
""".replace("T0", str(T))
    await on_micropython(code, port=faulty.port)
    seen: dict[str, int] = {}
    for report in source_times(faulty):
        for name, at in report.items():
            assert seen.get(name, 0) < at < time.time() * 1000 * 2
            seen[name] = at
