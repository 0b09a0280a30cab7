"""What a running edgecore has loaded: every library costs a small gateway memory for as long as it runs.

The real process is asked, once it serves MQTT and has its link. A new library shows here before it shows on a Raspberry Pi;
`python -m bench.footprint` says what each one costs.
"""

import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from edge_gateway.broker.packets import Publish
from edge_gateway.broker.tests.brokers import ROOT, BrokerProcess, BuiltIn, Raw, until
from edgewire import board, topics

NODE = "edge1"
NEEDED = {"edge_gateway", "edgewire", "msgspec", "yaml"}
FOR_THE_LINK = {"websockets"}
FOR_THE_LOCAL_API = {"h11"}
FOR_AN_OUTSIDE_BROKER = {"paho"}
OF_THE_INSTALLATION = ("__editable__", "_distutils_hack", "sitecustomize", "usercustomize")
IN_PASSING = ("cython_runtime", "_cython_", "typing_extensions")
"""PyYAML is compiled by Cython; msgspec takes typing_extensions where something else has installed it."""
HEAVY_AND_NEEDLESS = {"ctypes", "doctest", "http.server", "multiprocessing", "pydoc", "unittest", "xml"}
"""http.client is not among them: websockets imports it, for proxies."""

# edgecore as it is, and a signal that makes it write down what it has loaded.
EDGECORE = """
import json, pathlib, signal, sys
from edge_gateway.__main__ import main

def tell(*_):
    fresh = pathlib.Path(sys.argv[1]).with_suffix(".new")
    fresh.write_text(json.dumps(list(sys.modules)))
    fresh.rename(fresh.with_suffix(".modules"))

signal.signal(signal.SIGUSR1, tell)
main()
"""


class Gateway(BrokerProcess):
    """A real edgecore; `configuration` is what its edgecore.yaml says besides names and ports."""

    name = "edgecore"

    def __init__(self, folder: Path, configuration: dict[str, object]) -> None:
        super().__init__(folder)
        self._file = folder / "edgecore.yaml"
        defaults = {"node": NODE, "data_dir": str(folder), "broker": {"port": self.port}}
        self._file.write_text(yaml.safe_dump(defaults | configuration))

    def command(self) -> list[str]:
        return [sys.executable, "-c", EDGECORE, str(self._file)]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def modules(self) -> set[str]:
        """The names of the modules it has loaded."""
        assert self._process is not None
        told = self._file.with_suffix(".modules")
        told.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        until(told.exists, "edgecore tells what it has loaded")
        return set(json.loads(told.read_text()))


class GatewayOfAnotherBroker(Gateway):
    """One that is a client itself, and listens nowhere."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, {"broker": {"kind": "external", "external": {"port": port}}})

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return "broker connected" in self.log()


class Cloud:
    """The other end of the link, as far as TLS and the first frame."""

    def __init__(self, pki: Path) -> None:
        self._pki = pki
        self.linked = threading.Event()
        self.port = 0

    def configuration(self) -> dict[str, object]:
        """What a gateway of this cloud is told."""
        certificate = self._pki / "nodes" / NODE
        files = {"ca": f"{self._pki}/ca.crt", "certificate": f"{certificate}.crt", "key": f"{certificate}.key"}
        return {"cloud": {"url": f"wss://127.0.0.1:{self.port}", **files}}

    @contextmanager
    def serving(self) -> Iterator["Cloud"]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(self._pki / "ca.crt")
        tls.load_cert_chain(self._pki / "server.crt", self._pki / "server.key")
        with serve(self._hear, "127.0.0.1", 0, ssl=tls) as server:
            self.port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def _hear(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for _ in connection:
                self.linked.set()


@contextmanager
def running(process: BrokerProcess) -> Iterator[None]:
    try:
        process.start()
        yield
    finally:
        process.stop()


def ask(gateway: Gateway) -> None:
    """What goes on in a gateway: a mapper asks for its devices, a device reports."""
    answers = [topics.membership_result(NODE), topics.of_device("default/nobody", topics.RESULT)]
    with Raw(gateway).connect("mapper") as client:
        client.subscribe(*answers)
        client.publish(topics.membership_get(NODE), board.get().encode(), qos=0)
        assert client.next(Publish).topic == answers[0]
        client.publish(topics.of_device("default/nobody", topics.UPDATE), board.report({"p": ("1", 0)}).encode(), qos=0)
        assert client.next(Publish).topic == answers[1]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    pki = tmp_path_factory.mktemp("pki")
    # A process of its own: the gateway, and its tests, know the cloud over the wire only.
    make = [sys.executable, "-m", "cloud.certificates", str(pki), "--host", "127.0.0.1", "--node", NODE]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=30)
    with Cloud(pki).serving() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> set[str]:
    """What edgecore has loaded, with the built-in broker and its link, after it has answered a mapper and a device."""
    gateway = Gateway(tmp_path_factory.mktemp("edge"), cloud.configuration())
    with running(gateway):
        assert cloud.linked.wait(10.0), gateway.log()
        ask(gateway)
        return gateway.modules()


def libraries(modules: set[str]) -> set[str]:
    """The packages among modules that do not come with Python, nor with the way in which it was set up."""
    roots = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"__main__"}
    return {name for name in roots if not name.startswith(OF_THE_INSTALLATION + IN_PASSING)}


def test_a_gateway_loads_the_libraries_it_needs_and_no_others(modules: set[str]) -> None:
    assert libraries(modules) == NEEDED | FOR_THE_LINK


def test_a_gateway_loads_nothing_heavy_of_the_standard_library(modules: set[str]) -> None:
    assert {"asyncio", "ssl", "sqlite3"} <= modules
    assert modules & HEAVY_AND_NEEDLESS == set()


def test_a_gateway_without_a_cloud_does_without_the_link(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {})
    with running(gateway):
        ask(gateway)
        assert libraries(gateway.modules()) == NEEDED


def test_the_local_api_loads_h11_and_nothing_else(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {"local_api": {"port": 0}})
    with running(gateway):
        ask(gateway)
        assert libraries(gateway.modules()) == NEEDED | FOR_THE_LOCAL_API


def test_an_outside_broker_loads_paho_instead_of_the_broker(tmp_path: Path) -> None:
    broker = BuiltIn(tmp_path)
    folder = tmp_path / "edge"
    folder.mkdir()
    with running(broker):
        gateway = GatewayOfAnotherBroker(folder, broker.port)
        with running(gateway):
            loaded = gateway.modules()
    assert libraries(loaded) == NEEDED | FOR_AN_OUTSIDE_BROKER
    assert "edge_gateway.broker.server" not in loaded
    assert "edge_gateway.broker.sessions" not in loaded
