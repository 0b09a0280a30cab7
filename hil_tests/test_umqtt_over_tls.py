"""A board's MQTT over TLS: umqtt.simple on the real MicroPython, with DER certificates, to the built-in broker."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from device_fw.tools import firmware
from edge_gateway.broker.acl import load_listed
from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.server import Broker
from edge_gateway.broker.tests.authority import HOST, Authority, der
from edge_gateway.broker.tls import TlsListener
from edge_gateway.store.memory import MemoryStore
from hil_tests.bench.micropython_board import Unavailable, command, environment
from hil_tests.conftest import missing

DEADLINE_S = 20.0
CACHE = Path(__file__).resolve().parents[1] / firmware.CACHE

# What newer releases of umqtt.simple do themselves; 1.3.4 knows only the old module.
USSL = """
import ssl

def wrap_socket(sock, ca, certificate=None, key=None, server_hostname=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=open(ca, "rb").read())
    if certificate:
        context.load_cert_chain(certificate, key)
    return context.wrap_socket(sock, server_hostname=server_hostname)
"""
MAIN = """
from umqtt.simple import MQTTClient

client = MQTTClient("board", "{host}", {port}, ssl=True, ssl_params={params})
client.set_callback(lambda topic, payload: print("heard", topic, payload))
client.connect()
client.subscribe("$hw/events/device/board-1/delta", 1)
client.publish("$hw/events/device/board-1/update", b"x" * 3000, qos=1)
client.wait_msg()
client.disconnect()
"""
DELTA = "$hw/events/device/board-1/delta"
ACL = "pattern readwrite $hw/events/device/%u/#\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
async def broker(tmp_path: Path, authority: Authority) -> AsyncIterator[Broker]:
    """It answers a report with a delta, to the same device."""
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    pair = authority.server()
    tls = TlsListener(pair.certificate, pair.key, authority.certificate, require_certificate=True, port=0)
    users = load_listed(None, acl, allow_anonymous=False, allow_certificates=True)
    broker = Broker(MemoryStore(), port=None, tls=tls, users=users)

    def answer(report: Inbound) -> None:
        report.ack()
        broker.publish(DELTA, b"%d" % report.size)

    broker.attach(answer, lambda topic: topic.endswith("/update"))
    ready = asyncio.Event()
    serving = asyncio.create_task(broker.run(ready))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ready.wait()
        yield broker
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def run(folder: Path, port: int, params: dict[str, str]) -> tuple[int, str]:
    """Run the client in `folder`; its status and what it said."""
    try:
        umqtt = firmware.umqtt_simple(CACHE)
        line = command("main.py")
    except (Unavailable, firmware.FirmwareError) as error:
        missing(str(error))
        raise
    (folder / "umqtt").mkdir(parents=True)
    (folder / "umqtt" / "simple.py").write_text(umqtt.read_text())
    (folder / "ussl.py").write_text(USSL)
    (folder / "main.py").write_text(MAIN.format(host=HOST, port=port, params=params))
    done = await asyncio.to_thread(
        subprocess.run, line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_board_connects_by_its_certificate(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    pair = der(authority.client("board-1"))
    ca = authority.der()
    params = {"ca": str(ca), "certificate": str(pair.certificate), "key": str(pair.key), "server_hostname": HOST}
    status, said = await run(tmp_path / "board", broker.tls_port, params)
    assert status == 0, said
    assert said.split() == ["heard", "b'$hw/events/device/board-1/delta'", "b'3000'"]


async def test_a_board_without_a_certificate_is_turned_away(
    tmp_path: Path, broker: Broker, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    status, said = await run(tmp_path / "board", broker.tls_port, {"ca": str(authority.der()), "server_hostname": HOST})
    assert status == 1, said
    assert "Error" in said
    assert "TLS handshake: peer did not return a certificate" in caplog.text
