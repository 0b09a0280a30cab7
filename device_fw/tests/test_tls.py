"""MQTT over TLS on the real MicroPython: whom a board trusts, whom it does not and why, and that no handshake holds it up."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from device_fw.tests.conftest import RunOnMicroPython, missing
from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tests.watcher import until
from edge_gateway.broker.server import Broker
from edge_gateway.broker.tests.authority import HOST, Authority, Pair, der
from edge_gateway.broker.tls import TlsListener
from edge_gateway.store.memory import MemoryStore
from hil_tests.bench import mosquitto as bench_mosquitto
from hil_tests.bench.micropython_board import MicroPythonBoard

LINK = """
from device_fw.firmware import mqtt_link
from device_fw.firmware.config import check
link = mqtt_link.make(check({config!r}), None)
link.set_callback(lambda topic, payload: got.append((topic, payload)))
"""
ROUND_TRIPS = """
link.connect()
link.subscribe("t")
for number in range(200):
    link.send("t", str(number) + "x" * (number * 20))
    while not link.idle:
        link.poll(5000)
while len(got) < 200:
    link.poll(500)
print(got == [(b"t", (str(number) + "x" * (number * 20)).encode()) for number in range(200)], link.acknowledged)
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


def config(port: int, authority: Authority, **more: object) -> dict[str, object]:
    return {
        "name": "default/b1",
        "host": HOST,
        "port": port,
        "ca": str(authority.der()),
        "timeout_ms": 5000,
        "max_packet": 65536,
        **more,
    }


@contextlib.asynccontextmanager
async def built_in(authority: Authority, pair: Pair, certificates: bool) -> AsyncIterator[int]:
    listener = TlsListener(pair.certificate, pair.key, authority.certificate, require_certificate=certificates, port=0)
    broker, ready = Broker(MemoryStore(), port=None, tls=listener), asyncio.Event()
    serving = asyncio.create_task(broker.run(ready))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        yield broker.tls_port
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@contextlib.contextmanager
def mosquitto(folder: Path, authority: Authority, pair: Pair, certificates: bool) -> Iterator[int]:
    settings = f"cafile {authority.certificate}\ncertfile {pair.certificate}\nkeyfile {pair.key}\n"
    settings += f"require_certificate {str(certificates).lower()}\n"
    folder.mkdir(exist_ok=True)
    try:
        with bench_mosquitto.mosquitto(folder, settings=settings) as port:
            yield port
    except bench_mosquitto.MosquittoMissing as error:
        missing(str(error))


class Brokers:
    """Brokers of one kind, each with a certificate the test chooses."""

    def __init__(self, kind: str, folder: Path, authority: Authority, stack: contextlib.AsyncExitStack) -> None:
        self._kind, self._folder, self._authority, self._stack = kind, folder, authority, stack

    async def start(self, pair: Pair | None = None, certificates: bool = False) -> int:
        """A broker's port; with `certificates` it wants one of each client."""
        pair = pair or self._authority.server()
        if self._kind == "mosquitto":
            made = mosquitto(self._folder, self._authority, pair, certificates)
            return self._stack.enter_context(made)
        return await self._stack.enter_async_context(built_in(self._authority, pair, certificates))


@pytest.fixture(params=["built-in", "mosquitto"])
async def brokers(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> AsyncIterator[Brokers]:
    async with contextlib.AsyncExitStack() as stack:
        yield Brokers(request.param, tmp_path / "broker", authority, stack)


# --- trusted


async def test_messages_of_all_lengths_go_and_come_back(
    on_micropython: RunOnMicroPython, brokers: Brokers, authority: Authority
) -> None:
    port = await brokers.start()
    code = LINK.format(config=config(port, authority)) + ROUND_TRIPS
    assert await on_micropython(code, port=port) == ["True 200"]


async def test_a_board_shows_its_own_certificate(
    on_micropython: RunOnMicroPython, brokers: Brokers, authority: Authority
) -> None:
    port = await brokers.start(certificates=True)
    own = der(authority.client("default/b1"))
    shown = config(port, authority, certificate=str(own.certificate), key=str(own.key))
    assert await on_micropython(LINK.format(config=shown) + ROUND_TRIPS, port=port) == ["True 200"]


async def test_a_board_without_a_certificate_is_turned_away_and_says_so(
    on_micropython: RunOnMicroPython, brokers: Brokers, authority: Authority
) -> None:
    port = await brokers.start(certificates=True)
    code = LINK.format(config=config(port, authority)) + "print(fails(link.connect))"
    assert await on_micropython(code, port=port) == [
        "LinkError: TLS: ended by the broker; does it want a certificate of this board?"
    ]


# --- not trusted


def _of_another_ca(authority: Authority, folder: Path) -> Pair:
    return Authority(folder / "other", "other CA").server()


DISTRUSTED = {
    "wrong-ca": (_of_another_ca, "not correctly signed by the trusted CA"),
    "expired": (lambda authority, _: authority.server("expired", days=-1), "validity has expired"),
    "wrong-name": (lambda authority, _: authority.server("named", host="127.0.0.9"), "does not match"),
}


@pytest.mark.parametrize("case", DISTRUSTED)
async def test_a_broker_is_refused_with_the_reason(
    on_micropython: RunOnMicroPython, brokers: Brokers, authority: Authority, tmp_path: Path, case: str
) -> None:
    make, reason = DISTRUSTED[case]
    port = await brokers.start(make(authority, tmp_path))
    code = LINK.format(config=config(port, authority)) + "print(fails(link.connect))\nprint(fails(link.connect))"
    for line in await on_micropython(code, port=port):  # the second time as the first
        assert line.startswith("LinkError: TLS: The certificate")
        assert reason in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ca": "nowhere.der"}, "TLS: nowhere.der cannot be read: .*ENOENT"),
        ({"ca": "{pem}"}, "TLS: .*ca.crt: invalid cert; is it DER?"),
        ({"certificate": "{pem}", "key": "{pem}"}, "TLS: .*ca.crt, .*ca.crt: invalid .*; is it DER?"),
    ],
)
async def test_a_file_that_is_missing_or_no_der_is_named(
    on_micropython: RunOnMicroPython,
    faulty: FaultyBroker,
    authority: Authority,
    change: dict[str, str],
    reason: str,
) -> None:
    change = {key: value.format(pem=authority.certificate) for key, value in change.items()}
    code = LINK.format(config=config(faulty.port, authority, **change)) + "print(fails(link.connect))"
    (line,) = await on_micropython(code, port=faulty.port)
    assert re.match("LinkError: " + reason, line), line


async def test_a_board_tries_again_until_it_can_trust_the_broker(
    tmp_path: Path, umqtt: Path, brokers: Brokers, authority: Authority
) -> None:
    port = await brokers.start()
    ca = tmp_path / "ca.der"
    ca.write_bytes(Authority(tmp_path / "other", "other CA").der().read_bytes())
    with MicroPythonBoard(tmp_path / "board", config(port, authority, ca=str(ca)), umqtt=umqtt) as board:
        await until(lambda: board.console.read_text().count("signed by the trusted CA") > 1)
        board.kill()
        ca.write_bytes(authority.der().read_bytes())
        board.start()
        await until(lambda: "event=connected" in board.console.read_text())


async def test_tls_ntp_and_a_journal_fit_into_a_heap_of_96_kilobytes(
    tmp_path: Path, umqtt: Path, brokers: Brokers, authority: Authority
) -> None:
    port = await brokers.start()
    settings = config(
        port,
        authority,
        ntp="127.0.0.1:1",  # nobody answers
        properties={"temperature": {"log": True}},
        max_packet=4096,
    )
    with MicroPythonBoard(tmp_path / "board", settings, umqtt=umqtt, heap="96k", as_bytecode=True) as board:
        await until(lambda: "event=connected" in board.console.read_text())
        await until(lambda: "event=ntp_failed" in board.console.read_text())
        assert "MemoryError" not in board.console.read_text()
        assert board.running


# --- a handshake that does not end


async def test_a_handshake_that_is_never_answered_ends_by_its_deadline(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, authority: Authority
) -> None:
    await faulty.change(frozen=True)  # a plain TCP port that says nothing
    code = (
        LINK.format(config=config(faulty.port, authority, timeout_ms=200))
        + """
begin = clock.now()
print(fails(link.connect), 600 <= clock.now() - begin)
"""
    )
    assert await on_micropython(code, port=faulty.port) == ["LinkError: no answer in time True"]


async def test_a_handshake_with_something_else_ends_at_once(
    on_micropython: RunOnMicroPython, authority: Authority
) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(other, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        code = LINK.format(config=config(port, authority)) + "print(fails(link.connect))"
        (line,) = await on_micropython(code, port=port)
    assert line.startswith("LinkError: TLS: ")


async def test_a_broker_that_freezes_behind_tls_is_noticed(
    on_micropython: RunOnMicroPython, authority: Authority
) -> None:
    pair = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    async with FaultyBroker(context) as broker:
        settings = config(broker.port, authority, timeout_ms=1000, keepalive_s=1)
        code = LINK.format(config=settings) + "print(fails(session))"

        async def freeze() -> None:
            await broker.until(lambda: broker.visits and broker.last.subscribed)
            await broker.change(frozen=True)

        out, _ = await asyncio.gather(on_micropython(code, port=broker.port), freeze())
    assert out == ["LinkError: no PINGRESP"]
