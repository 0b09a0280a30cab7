"""The MQTT 3.1.1 decoder: bytes in, packets out. No socket, clock or state of a session in it.

`Decoder.feed` takes bytes as they come, in any pieces, and yields packets. It holds at most one incomplete packet, whose
size is limited by kind, and copies each byte a fixed number of times however finely the stream is cut. A PUBLISH whose payload
is larger than `max_payload` is no error: its body is skipped as it streams past and the packet comes out with `payload=None`
and its `size`, so that the application can answer the sender.

What is raised (all are errors.PacketError; the stream is of no more use then):

    PacketError
     ├─ MalformedPacket      a field, a flag or a length that the specification forbids
     ├─ PacketTooLarge       a packet other than PUBLISH above its limit
     ├─ UnexpectedPacket     not the kind of packet that `only` asks for
     └─ UnsupportedProtocol  a CONNECT of another MQTT version
"""

from collections.abc import Iterator

from edge_gateway.broker.bodies import BODIES, decode_text
from edge_gateway.broker.errors import MalformedPacket, PacketError, PacketTooLarge, UnexpectedPacket
from edge_gateway.broker.filters import topic_fault
from edge_gateway.broker.packets import FLAGS, MAX_PAYLOAD, NAMES, PUBLISH, Packet, Publish

# The longest packet of each kind but PUBLISH, in bytes after the fixed header.
_LONGEST = (0, 16_384, 2, 0, 2, 2, 2, 2, 65_536, 65_536, 65_536, 2, 0, 0, 0, 0)

# Topic names seen lately, raw -> text: checked and decoded once. Only short ones, so that its memory is bounded.
_NAMES_KEPT = 4096
_LONGEST_NAME_KEPT = 256


class Decoder:
    """Turns a stream of bytes into packets.

    `names` may be shared by the decoders of one process. While `only` is set, any other kind of packet is refused at its first
    byte, so that a stranger cannot make the broker buffer more than a CONNECT.
    """

    __slots__ = ("_error", "_names", "_need", "_pending", "_skip", "_skipped", "max_payload", "only")

    def __init__(
        self, max_payload: int = MAX_PAYLOAD, names: dict[bytes, str] | None = None, only: int | None = None
    ) -> None:
        self.max_payload = max_payload
        self.only = only
        self._names: dict[bytes, str] = {} if names is None else names
        self._pending = bytearray()  # the beginning of a packet
        self._need = 0  # bytes that `_pending` must have before another look is worth it
        self._skip = 0  # bytes of a body that are still to be thrown away
        self._skipped: Publish | None = None
        self._error: PacketError | None = None

    @property
    def buffered(self) -> int:
        """Bytes held of an incomplete packet."""
        return len(self._pending)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that `data` completes; iterate to the end before feeding more, or drop the decoder.

        Packets before a bad one are yielded before its PacketError is raised; every later call raises the same error.
        """
        if self._error is not None:
            raise self._error
        try:
            at = 0
            if self._skip:
                at = self._skip_body(len(data))
                if self._skip:
                    return
                yield self._take_skipped()
            elif self._need:
                self._pending += data
                if len(self._pending) < self._need:
                    return
                data = bytes(self._pending)
                self._pending.clear()
                self._need = 0
            end = len(data)
            while at < end:
                first = data[at]
                kind = first >> 4
                if self.only is not None and kind != self.only:
                    raise UnexpectedPacket(f"{NAMES[kind]} where only {NAMES[self.only]} may come")
                body = at + 2
                length = data[at + 1] if body <= end else 128
                if length & 128:
                    length, body = _long_length(data, at + 1, end)
                    if not body:
                        self._keep(data, at, end + 1)
                        return
                stop = body + length
                if kind != PUBLISH:
                    _check_header(first, kind, length)
                    if stop > end:
                        self._keep(data, at, stop)
                        return
                    yield BODIES[kind](kind, data[body:stop])
                elif stop <= end:
                    yield self._publish(data, first, body, stop)
                else:
                    self._begin_publish(data, at, body, stop)
                    return
                at = stop
        except PacketError as error:
            self._error = error
            raise

    def _keep(self, data: bytes, at: int, until: int) -> None:
        """Put the beginning of a packet by until `data` would reach to `until`."""
        self._pending += data[at:] if at else data
        self._need = until - at

    def _skip_body(self, available: int) -> int:
        """Throw away what belongs to an oversized body; where the next packet begins."""
        used = min(self._skip, available)
        self._skip -= used
        return used

    def _take_skipped(self) -> Publish:
        skipped = self._skipped
        assert skipped is not None
        self._skipped = None
        return skipped

    def _begin_publish(self, data: bytes, at: int, body: int, stop: int) -> None:
        """Keep an incomplete PUBLISH, or begin to skip its body when that is too long."""
        end = len(data)
        if stop - body <= self.max_payload:
            return self._keep(data, at, stop)
        if body + 2 > end:
            return self._keep(data, at, body + 2)
        start = body + 2 + (data[body] << 8 | data[body + 1]) + (2 if data[at] & 6 else 0)
        if start > stop:
            raise MalformedPacket("PUBLISH ends within its topic")
        if start > end:
            return self._keep(data, at, start)
        if stop - start <= self.max_payload:
            return self._keep(data, at, stop)
        self._skipped = self._publish(data, data[at], body, stop)
        self._skip = stop - end
        return None

    def _publish(self, data: bytes, first: int, body: int, stop: int) -> Publish:
        if body + 2 > stop:
            raise MalformedPacket("PUBLISH ends within its topic")
        start = name_end = body + 2 + (data[body] << 8 | data[body + 1])
        qos = (first & 6) >> 1
        packet_id = 0
        if qos:
            start += 2
        if start > stop:
            raise MalformedPacket("PUBLISH ends within its topic")
        raw = data[body + 2 : name_end]
        topic = self._names.get(raw)
        if topic is None:
            topic = self._topic(raw)
        if qos:
            packet_id = data[name_end] << 8 | data[name_end + 1]
            if not packet_id:
                raise MalformedPacket("PUBLISH has packet id 0")
            if qos == 3:
                raise MalformedPacket("PUBLISH has QoS 3")
        elif first & 8:
            raise MalformedPacket("PUBLISH of QoS 0 is marked as a duplicate")
        size = stop - start
        payload = data[start:stop] if size <= self.max_payload else None
        return Publish(topic, payload, qos, first & 1 == 1, first & 8 == 8, packet_id, size)

    def _topic(self, raw: bytes) -> str:
        topic = decode_text(raw)
        fault = topic_fault(topic)
        if fault:
            raise MalformedPacket(f"PUBLISH: {fault}")
        if len(raw) <= _LONGEST_NAME_KEPT:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            self._names[raw] = topic
        return topic


def _long_length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The remaining length (section 2.2.3) that starts at `at`, and where the body begins: 0 while that cannot be told."""
    length = 0
    for shift in (0, 7, 14, 21):
        if at >= end:
            return 0, 0
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        if byte < 128:
            return length, at
    raise MalformedPacket("remaining length has more than four bytes")


def _check_header(first: int, kind: int, length: int) -> None:
    if kind not in BODIES:
        raise MalformedPacket(f"packet type {kind} is reserved")
    if first & 15 != FLAGS[kind]:
        raise MalformedPacket(f"{NAMES[kind]} has flags {first & 15:04b}")
    if length > _LONGEST[kind]:
        raise PacketTooLarge(f"{NAMES[kind]} of {length} bytes, at most {_LONGEST[kind]} are taken")
