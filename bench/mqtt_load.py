"""A load of plain MQTT in a process of its own: one publisher, one subscriber, messages of 100 bytes.

    python -m bench.mqtt_load --port 1883 flood --qos 1 --seconds 3
    python -m bench.mqtt_load --port 1883 paced --rate 500 --seconds 5

`flood` sends as fast as the messages come out again, with at most `WINDOW` on their way, so that nothing is lost; `paced` keeps
to the clock and measures each message at QoS 1 from the moment it was due. It prints one line of JSON. All messages have one
size, so that counting them costs little: the broker is what is measured.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable

from edge_gateway.broker import packets

TOPIC = "bench/load"
PAYLOAD = 100
WINDOW = {0: 1000, 1: 200, 2: 20}
"""20 at QoS 2: mosquitto drops what comes beyond its `max_inflight_messages`, 20 by default."""
DEADLINE_S = 20.0
_ACK = 4
"""Bytes of a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 3.1.1, sections 3.4 to 3.7)."""
_PUBLISH, _PUBREC = 0x34, 0x50
"""First bytes of those of QoS 2."""
_ID_AT = 4 + len(TOPIC)
"""Where the packet id stands: after two bytes of header and two of the topic's length."""


class Client(asyncio.Protocol):
    """One connection; after CONNACK and SUBACK every packet that comes has `size` bytes, and whole ones go to `take`."""

    def __init__(self, size: int, take: Callable[[bytes, int], None]) -> None:
        self.size = size
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._take = take
        self._rest = b""
        self._asking = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def ask(self, packet: bytes, last: bool) -> bytes:
        """Send CONNECT or SUBSCRIBE and wait for the answer; `last` says that nothing more is asked."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(packet)
        async with asyncio.timeout(DEADLINE_S):
            answer = await self.answer
        self._asking = not last
        return answer

    def data_received(self, data: bytes) -> None:
        if self._asking:
            self.answer.set_result(data)
            return
        if self._rest:
            data = self._rest + data
        count, over = divmod(len(data), self.size)
        self._rest = data[len(data) - over :] if over else b""
        if count:
            self._take(data, count)


class Subscriber2(Client):
    """The one subscribed at QoS 2: PUBLISHes of `size` bytes come, and PUBRELs. It answers; `take` has no bytes, only a count."""

    def data_received(self, data: bytes) -> None:
        if self._asking:
            self.answer.set_result(data)
            return
        data = self._rest + data
        at = count = 0
        answers = []
        while at < len(data):
            publish = data[at] == _PUBLISH
            end = at + (self.size if publish else _ACK)
            if end > len(data):
                break
            if publish:
                count += 1
                answers.append(b"\x50\x02" + data[at + _ID_AT : at + _ID_AT + 2])
            else:
                answers.append(b"\x70\x02" + data[at + 2 : end])
            at = end
        self._rest = data[at:]
        self.transport.write(b"".join(answers))
        if count:
            self._take(b"", count)


class Load:
    """The two clients, and what they count."""

    def __init__(self, qos: int) -> None:
        self.qos = qos
        self.sent = self.received = self.acknowledged = 0
        self.latencies: list[float] = []
        self.due: list[float] = []
        self.changed = asyncio.Event()
        self._flooding = False
        self._template = bytearray(packets.encode_publish(TOPIC, bytes(PAYLOAD), qos, packet_id=1 if qos else 0))
        self.size = len(self._template)

    async def connect(self, port: int) -> None:
        """Connect both and subscribe."""
        loop = asyncio.get_running_loop()
        _, self.publisher = await loop.create_connection(lambda: Client(_ACK, self._acks), "127.0.0.1", port)
        kind = Subscriber2 if self.qos == 2 else Client
        _, self.subscriber = await loop.create_connection(lambda: kind(self.size, self._messages), "127.0.0.1", port)
        for name, client in (("publisher", self.publisher), ("subscriber", self.subscriber)):
            connect = packets.encode_connect(packets.Connect(f"bench-{name}", keepalive=60))
            assert (await client.ask(connect, last=client is self.publisher))[3] == packets.ACCEPTED
        await self.subscriber.ask(packets.encode_subscribe(1, [(TOPIC, self.qos)]), last=True)

    async def flood(self, seconds: float) -> dict[str, float]:
        """As many as come through."""
        self._flooding = True
        began = time.perf_counter()
        self._fill()
        await asyncio.sleep(seconds)
        received, took = self.received, time.perf_counter() - began
        self._flooding = False
        await self._drain()
        return {"per_second": received / took}

    async def paced(self, seconds: float, rate: float) -> dict[str, float]:
        """At a steady rate: latency percentiles in ms."""
        began = time.perf_counter()
        for number in range(int(seconds * rate)):
            due = began + number / rate
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            self.due.append(due)
            self.publisher.transport.write(self._packet())
        await self._drain()
        found = sorted(1e3 * latency for latency in self.latencies)
        return {"p50_ms": statistics.median(found), "p99_ms": found[int(len(found) * 0.99)]}

    async def _drain(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.received < self.sent or (self.qos and self.acknowledged < self.sent):
                self.changed.clear()
                await self.changed.wait()

    def _fill(self) -> None:
        behind = self.received if not self.qos else min(self.received, self.acknowledged)
        while self.sent - behind < WINDOW[self.qos]:
            self.publisher.transport.write(self._packet())  # one system call each, as clients do

    def _packet(self) -> bytes:
        if self.qos:
            self._template[_ID_AT : _ID_AT + 2] = (self.sent % 65_535 + 1).to_bytes(2, "big")
        self.sent += 1
        return bytes(self._template)

    def _messages(self, data: bytes, count: int) -> None:
        if self.due:
            now = time.perf_counter()
            self.latencies += [now - due for due in self.due[self.received : self.received + count]]
        self.received += count
        if self.qos == 1:
            size = self.size
            ids = [data[at + _ID_AT : at + _ID_AT + 2] for at in range(0, count * size, size)]
            self.subscriber.transport.write(b"".join([b"\x40\x02" + packet_id for packet_id in ids]))
        self._moved()

    def _acks(self, data: bytes, count: int) -> None:
        if self.qos == 2:
            ids = [data[at + 2 : at + _ACK] for at in range(0, count * _ACK, _ACK) if data[at] == _PUBREC]
            self.publisher.transport.write(b"".join([b"\x62\x02" + packet_id for packet_id in ids]))
            count -= len(ids)  # the others are PUBCOMPs
        self.acknowledged += count
        self._moved()

    def _moved(self) -> None:
        if self._flooding:
            self._fill()
        else:
            self.changed.set()


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Connect and measure; the keys are those of the printed line."""
    load = Load(options.qos)
    await load.connect(options.port)
    gc.collect()
    gc.freeze()
    if options.what == "flood":
        return await load.flood(options.seconds)
    return await load.paced(options.seconds, options.rate)


def main() -> None:
    """Parse the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("flood", "paced"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=float, default=500, help="messages per second")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
