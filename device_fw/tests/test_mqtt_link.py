"""The link on the real MicroPython, against brokers that behave and brokers that do not. Every wait ends."""

import asyncio
import socket

import pytest

from device_fw.tests.conftest import RunOnMicroPython
from device_fw.tests.faulty_broker import FaultyBroker, Published

# --- with a broker that behaves


async def test_connect_sends_credentials_and_the_last_will(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = """
link.set_last_will("w", "off", qos=1)
print(link.connect())
"""
    assert await on_micropython(code, port=faulty.port, user="u", password="p", keepalive=7) == ["False"]
    begin = b"\x00\x04MQTT\x04\xce\x00\x07\x00\x0adefault/b1"
    assert faulty.last.connect == begin + b"\x00\x01w\x00\x03off\x00\x01u\x00\x01p"


async def test_every_packet_is_one_write(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
link.connect()
class Counting:
    def __init__(self, sock):
        self.sock, self.writes = sock, 0
    def write(self, data):
        self.writes += 1
        return self.sock.write(data)
    def read(self, count):
        return self.sock.read(count)
link.sock = counting = Counting(link.sock)
link.subscribe("t")
link.publish("t", "x" * 300, qos=1)
link.ping()
print(counting.writes)
"""
    assert await on_micropython(code, port=faulty.port) == ["3"]


async def test_packet_ids_wrap_past_65535(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
link.connect()
link.pid = 65533
for number in range(4):
    link.publish("t", str(number), qos=1)
print(link.acknowledged)
"""
    assert await on_micropython(code, port=faulty.port) == ["4"]
    assert [message.packet_id for message in faulty.last.published] == [65534, 65535, 1, 2]


async def test_topics_may_be_longer_than_123_characters(on_micropython: RunOnMicroPython, mosquitto: int) -> None:
    code = """
topic = "$hw/events/device/default/" + "x" * 400 + "/twin/update/delta"
link.connect()
link.subscribe(topic, topic + "/more")
link.publish(topic, "y" * 5000, qos=1)
while not got:
    link.poll(500)
print(got == [(topic.encode(), b"y" * 5000)])
"""
    assert await on_micropython(code, port=mosquitto) == ["True"]


async def test_thousands_of_messages_go_and_come_back_in_order(
    on_micropython: RunOnMicroPython, mosquitto: int
) -> None:
    code = """
import gc
expected = 0
def count(topic, payload):
    global expected
    assert int(payload) == expected
    expected += 1
link.set_callback(count)
link.connect()
link.subscribe("t")
gc.collect()
before = gc.mem_alloc()
for number in range(3000):
    link.publish("t", str(number), qos=1)
while expected < 3000:
    link.poll(500)
gc.collect()
print(link.acknowledged, gc.mem_alloc() - before < 2000)
"""
    assert await on_micropython(code, port=mosquitto) == ["3000 True"]


async def test_messages_are_delivered_and_acknowledged_while_a_puback_is_awaited(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = """
link.connect()
link.subscribe("d")
link.publish("t", "x", qos=1)
print(got)
"""
    await faulty.change(puback=False)

    async def behave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.published)
        await faulty.publish("d", b"while waiting", packet_id=77)
        await faulty.until(lambda: faulty.last.acknowledged)
        await faulty.send(0x40, faulty.last.published[0].packet_id.to_bytes(2, "big"))

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), behave())
    assert out == ["[(b'd', b'while waiting')]"]
    assert faulty.last.acknowledged == [77]


async def test_a_silent_link_is_kept_alive_by_pings(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
link.connect()
end = clock.now() + 1200
while clock.now() < end:
    link.poll(100)
print(link.connected)
"""
    assert await on_micropython(code, port=faulty.port, keepalive=1) == ["True"]
    assert faulty.last.pings >= 2


async def test_poll_returns_at_once_when_nothing_came(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
link.connect()
begin = clock.now()
for _ in range(100):
    assert link.check_msg() is False
print(clock.now() - begin < 3000)
"""
    assert await on_micropython(code, port=faulty.port) == ["True"]


async def test_disconnect_takes_leave_and_close_does_not(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = """
link.connect()
link.disconnect()
link.connect()
link.close()
print(link.connected)
"""
    assert await on_micropython(code, port=faulty.port) == ["False"]
    await faulty.until(lambda: len(faulty.visits) == 2 and faulty.last.over)
    assert [visit.left for visit in faulty.visits] == [True, False]


# --- with a broker that does not


async def test_nobody_listens(on_micropython: RunOnMicroPython) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert await on_micropython("print(fails(link.connect))", port=port) == [
        "LinkError: connection refused or host unreachable"
    ]


async def test_the_host_does_not_answer(on_micropython: RunOnMicroPython) -> None:
    with socket.socket() as full:  # a full backlog drops further SYNs, as a host does that is switched off
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            out = await on_micropython("print(fails(link.connect))", port=full.getsockname()[1])
        finally:
            for sock in waiting:
                sock.close()
    assert out == ["LinkError: no answer in time"]


async def test_no_connack_comes(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(connack=None)
    assert await on_micropython("print(fails(link.connect))", port=faulty.port) == ["LinkError: no CONNACK"]


async def test_a_watchdog_is_fed_within_the_longest_waits(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    await faulty.change(connack=None)
    code = """
fed = []
link.set_alive(lambda: fed.append(clock.now()))
begin = clock.now()
print(fails(link.connect))
times = [begin] + fed + [clock.now()]
print(len(fed) > 1, max([b - a for a, b in zip(times, times[1:])]) < 2000)
"""
    out = await on_micropython(code, port=faulty.port, timeout_ms=2500)
    assert out == ["LinkError: no CONNACK", "True True"]


async def test_the_connection_is_refused(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(connack=5)
    assert await on_micropython("print(fails(link.connect))", port=faulty.port) == [
        "Refused: connection refused with code 5"
    ]


async def test_the_connection_ends_within_connack(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(cut_after=3)
    assert await on_micropython("print(fails(link.connect))", port=faulty.port) == ["LinkError: closed by the broker"]


async def test_no_suback_comes(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(suback=None)
    code = "link.connect(); print(fails(link.subscribe, 't'))"
    assert await on_micropython(code, port=faulty.port) == ["LinkError: no SUBACK"]


async def test_the_subscription_is_refused(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(suback=0x80)
    code = "link.connect(); print(fails(link.subscribe, 't'))"
    assert await on_micropython(code, port=faulty.port) == ["Refused: subscription refused with code 128"]


async def test_no_puback_comes(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(puback=False)
    code = "link.connect(); print(fails(link.publish, 't', 'x', False, 1))"
    assert await on_micropython(code, port=faulty.port) == ["LinkError: no PUBACK"]


async def test_pings_do_not_put_off_the_deadline_of_a_puback(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    await faulty.change(puback=False)
    code = "link.connect(); print(fails(link.publish, 't', 'x', False, 1))"
    assert await on_micropython(code, port=faulty.port, keepalive=1, timeout_ms=1500) == ["LinkError: no PUBACK"]
    assert faulty.last.pings >= 1


async def test_the_pubacks_are_for_other_messages(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    await faulty.change(puback=False)
    code = "link.connect(); print(fails(link.publish, 't', 'x', False, 1), link.acknowledged)"

    async def misbehave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.published)
        await faulty.send(0x40, b"\x12\x34")

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), misbehave())
    assert out == ["LinkError: no PUBACK 0"]


async def test_a_half_open_link_is_noticed_without_sending(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = "print(fails(session))"

    async def freeze() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.change(frozen=True)

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port, keepalive=1), freeze())
    assert out == ["LinkError: no PINGRESP"]


async def test_a_peer_that_no_longer_reads_is_noticed(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
def flood():
    while True:
        link.send("t", "x" * 60000, qos=0)
link.connect()
print(fails(flood))
"""

    async def freeze() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.connect)
        await faulty.change(frozen=True)

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), freeze())
    assert out == ["LinkError: no answer in time"]


async def test_the_connection_ends_within_a_message(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = "print(fails(session), got)"

    async def misbehave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.change(cut_after=9)
        await faulty.publish("d", b"only half of this comes")

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), misbehave())
    assert out == ["LinkError: closed by the broker []"]


async def test_half_a_message_that_never_ends_is_noticed(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = """
longest = 0
def wait():
    global longest
    while True:
        begin = clock.now()
        link.poll(50)
        longest = max(longest, clock.now() - begin)
link.connect()
link.subscribe("d")
print(fails(wait), longest < 1000)
"""

    async def dangle() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.change(pingresp=False)
        assert faulty._writer is not None
        faulty._writer.write(b"\x30\x50\x00\x01dhalf")

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port, keepalive=2), dangle())
    assert out == ["LinkError: no PINGRESP True"]


async def test_a_slow_broker_that_sends_byte_by_byte_is_understood(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    await faulty.change(one_by_one=True)
    code = """
link.connect()
link.subscribe("d")
while not got:
    link.poll(100)
link.publish("t", "x", qos=1)
print(got)
"""

    async def behave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.publish("d", b"z" * 200)

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), behave())
    assert out == [f"[(b'd', {b'z' * 200!r})]"]


async def test_a_message_beyond_max_packet_is_skipped_and_acknowledged(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker
) -> None:
    code = """
link.connect()
link.subscribe("d")
while not got:
    link.poll(100)
print(got, link.skipped)
"""

    async def behave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.publish("d", b"z" * 1_000_000, packet_id=5)
        await faulty.publish("d", b"small", packet_id=6)
        await faulty.until(lambda: faulty.last.acknowledged == [5, 6])

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port, max_packet=2000), behave())
    assert out == ["[(b'd', b'small')] 1"]


@pytest.mark.parametrize(
    ("kind", "first", "body"),
    [
        ("LinkError", 0xF0, b""),
        ("PacketError", 0x34, b"\x00\x01d\x00\x01x"),
        ("LinkError", 0x40, b"\x01"),
        ("PacketError", 0x30, b"\x00\x40d"),
        ("LinkError", 0x20, b""),
        ("LinkError", 0x82, b"\x00"),
    ],
)
async def test_garbage_is_an_oserror(
    on_micropython: RunOnMicroPython, faulty: FaultyBroker, kind: str, first: int, body: bytes
) -> None:
    code = "print(fails(session).split(':')[0])"

    async def misbehave() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.subscribed)
        await faulty.send(first, body)

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), misbehave())
    assert out == [kind]


async def test_the_link_works_again_after_every_failure(on_micropython: RunOnMicroPython, faulty: FaultyBroker) -> None:
    code = """
link.connect()
link.subscribe("d")
print(fails(link.publish, "t", "lost", False, 1))
link.connect()
link.subscribe("d")
link.publish("t", "kept", qos=1)
"""
    await faulty.change(puback=False)

    async def recover() -> None:
        await faulty.until(lambda: faulty.visits and faulty.last.over)
        await faulty.change(puback=True)

    out, _ = await asyncio.gather(on_micropython(code, port=faulty.port), recover())
    assert out == ["LinkError: no PUBACK"]
    assert faulty.published == [Published("t", b"lost", 1, 2, False), Published("t", b"kept", 1, 4, False)]


async def test_nothing_is_sent_on_a_closed_link(on_micropython: RunOnMicroPython) -> None:
    code = """
for call in (link.poll, link.ping, link.disconnect, lambda: link.send("t", "x"), lambda: link.subscribe("t")):
    print(fails(call))
"""
    assert await on_micropython(code, port=1) == ["LinkError: not connected"] * 5
