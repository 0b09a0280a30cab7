"""Both brokers as processes of their own on loopback ports, and clients of them.

Every test uses client ids and topics of its own, so all tests share the processes.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_gateway.broker.tests.brokers import BrokerProcess, BuiltIn, Mosquitto, Paho, Raw
from edge_gateway.broker.tests.conformance.statements import MOSQUITTO_DIFFERS
from edge_gateway.broker.users import device_user, full_user

BROKERS = [BuiltIn, Mosquitto]
numbers = itertools.count(1)


@pytest.fixture(scope="session", params=BROKERS, ids=lambda kind: kind.name)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    yield from running(request.param(tmp_path_factory.mktemp(request.param.name)))


@pytest.fixture(scope="session", params=BROKERS, ids=lambda kind: kind.name)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker with users."""
    users = [device_user("default/s1", "", "s1"), full_user("boss", "")]
    users[1].publish += ("$hw/#",)  # mosquitto's # leaves the topics with $ out
    users[1].subscribe += ("$hw/#",)
    yield from running(request.param(tmp_path_factory.mktemp(request.param.name), users))


def running(process: BrokerProcess) -> Iterator[BrokerProcess]:
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture(autouse=True)
def _expected_difference(request: pytest.FixtureRequest) -> None:
    """What mosquitto does otherwise must go on failing there, or the table is wrong."""
    case = getattr(request.node, "callspec", None)
    if case is not None and Mosquitto in case.params.values():
        rest = case.id.replace("mosquitto-", "").replace("-mosquitto", "").replace("mosquitto", "")
        name = request.node.originalname + (f"[{rest}]" if rest else "")
        if name in MOSQUITTO_DIFFERS:
            request.applymarker(pytest.mark.xfail(strict=True, reason=MOSQUITTO_DIFFERS[name]))


@pytest.fixture
def name() -> str:
    """A name that no other test uses: of a device, a client or a topic."""
    return f"x{next(numbers)}"


@pytest.fixture
def raw(broker: BrokerProcess) -> Iterator[Callable[..., Raw]]:
    """Makes raw clients, connected when a client id is given."""
    clients: list[Raw] = []

    def make(client_id: str | None = None, **fields: Any) -> Raw:
        client = Raw(broker)
        clients.append(client)
        return client if client_id is None else client.connect(client_id, **fields)

    yield make
    for client in clients:
        client.drop()


@pytest.fixture
def paho(broker: BrokerProcess) -> Iterator[Callable[..., Paho]]:
    """Makes connected paho clients."""
    clients: list[Paho] = []

    def make(client_id: str, **options: Any) -> Paho:
        client = Paho(broker, client_id, **options)
        clients.append(client)
        return client.connect()

    yield make
    for client in clients:
        client.close()
