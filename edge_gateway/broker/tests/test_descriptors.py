"""How many connections the broker has while the system lets a process open few files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.tests.brokers import BuiltIn, Raw, until

FEW = 300


class Limited(BuiltIn):
    """The broker with few open files; `kind` is the option of `ulimit`: S, and it may ask for more, or H."""

    kind = "S"

    def command(self) -> list[str]:
        return ["sh", "-c", f'ulimit -S -n {FEW}; ulimit -{self.kind} -n {FEW}; exec "$@"', "sh", *super().command()]


@contextlib.contextmanager
def crowded(broker: Limited, clients: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(Raw(broker))
        yield


def opened(broker: Limited) -> int:
    return len(list(Path(f"/proc/{broker.pid}/fd").iterdir()))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Limited]:
    broker = Limited(tmp_path)
    yield broker
    broker.stop()


def test_the_broker_asks_the_system_for_as_many_files_as_it_takes_connections(broker: Limited) -> None:
    broker.start()
    with crowded(broker, FEW), Raw(broker).connect("one more") as client:
        client.publish("t")


def test_the_broker_leaves_files_to_the_gateway_when_there_are_no_more(broker: Limited) -> None:
    broker.kind = "H"
    broker.start()
    with crowded(broker, FEW):
        until(lambda: "connection refused, there are too many" in broker.log(), "it refuses some")
        until(lambda: opened(broker) < FEW - 100, "what it accepted and refused is closed again")
    until(lambda: opened(broker) < FEW - 250, "it noticed that they are gone")
    with Raw(broker).connect("afterwards") as client:
        client.publish("t")
