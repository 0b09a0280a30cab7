"""What can go wrong in the broker, in one tree. The peer's fault and ours are different errors.

BrokerError
 ├─ PacketError             the peer's bytes are no MQTT 3.1.1: close the connection
 │   ├─ MalformedPacket      a field, a flag or a length that the specification forbids
 │   ├─ PacketTooLarge       a packet other than PUBLISH above its limit
 │   ├─ UnexpectedPacket     a packet that has no place here, such as anything before CONNECT
 │   └─ UnsupportedProtocol  a CONNECT of another MQTT version: answer CONNACK, then close
 ├─ InvalidTopic            our own code named a topic or filter that MQTT does not allow
 ├─ TlsError                the peer's TLS cannot be followed: its handshake, its certificate, or a record
 └─ BrokerNotStarted        the address cannot be served
"""


class BrokerError(Exception):
    """The base of every error the broker raises."""


class PacketError(BrokerError):
    """The peer's bytes are no MQTT 3.1.1; the stream cannot be read any further."""


class MalformedPacket(PacketError):
    """A field, a flag or a length that the specification forbids."""


class PacketTooLarge(PacketError):
    """A packet other than PUBLISH that is longer than such packets may be."""


class UnexpectedPacket(PacketError):
    """A packet that has no place here, such as anything before CONNECT."""


class UnsupportedProtocol(PacketError):
    """A CONNECT of another MQTT version, `level`; it is answered before closing, see `packets.encode_unsupported`."""

    def __init__(self, level: int) -> None:
        super().__init__(f"protocol level {level} is not MQTT 3.1.1")
        self.level = level


class InvalidTopic(BrokerError, ValueError):
    """Our own code named a topic or a filter that MQTT does not allow."""


class BrokerNotStarted(BrokerError):
    """The address cannot be served; the text names it and the system's reason."""


class TlsError(BrokerError):
    """The peer's TLS cannot be followed; the text says why."""
