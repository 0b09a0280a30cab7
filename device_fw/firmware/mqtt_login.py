"""How a board gets its connection to the broker: dials, speaks TLS where it is to, logs in. Imported for that, and forgotten
afterwards: most boards do it once a year.
"""

import select

from device_fw.firmware import mqtt_packets as mqtt
from device_fw.firmware.dial import dial
from device_fw.firmware.tcp import LinkError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.firmware.mqtt_link import MqttLink

_HANDSHAKE = 4  # times as long as other waits: several round trips, and seconds of arithmetic on a microcontroller


def login(link: "MqttLink", clean_session: bool, wait_ms: int) -> bool:
    """`MqttLink.connect`."""
    link.close()
    now = link.clock.now()
    deadline = now + wait_ms
    link.sock = dial(link.server, link.port, deadline, link.clock, link.alive)
    with link.closing_on_error:
        link.reset(now)
        link.acknowledged = 0
        if link.trust is not None:
            link.sock = link.trust.wrap(link.sock)
            deadline += wait_ms * (_HANDSHAKE - 1)
        link.poller = select.poll()
        link.poller.register(link.sock, select.POLLIN)
        will = (link.lw_topic, link.lw_msg, link.lw_qos, link.lw_retain) if link.lw_topic else None
        body = connect_body(link.client_id, link.keepalive, clean_session, link.user, link.pswd, will)
        try:
            link.write(mqtt.CONNECT, body, deadline)
            session, code = link.await_answer(mqtt.CONNACK, deadline)
        except (OSError, ValueError) as error:
            if link.trust is None or isinstance(error, (LinkError, mqtt.PacketError)):
                raise
            raise link.trust.failure(error)
        if code:
            raise mqtt.Refused("connection", code)
    return bool(session & 1)


def connect_body(
    client_id: "str | bytes",
    keepalive_s: int,
    clean: bool,
    user: "str | bytes | None",
    password: "str | bytes | None",
    will: "tuple[str | bytes, str | bytes, int, bool] | None",
) -> bytes:
    """The body of a CONNECT (section 3.1); `will` is topic, payload, QoS, retained."""
    flags = 0x02 if clean else 0
    payload = mqtt.string(client_id)
    if will is not None:
        flags |= 0x04 | will[2] << 3 | int(will[3]) << 5
        payload += mqtt.string(will[0]) + mqtt.string(will[1])
    if user is not None:
        flags |= 0x80
        payload += mqtt.string(user)
        if password is not None:
            flags |= 0x40
            payload += mqtt.string(password)
    return b"\0\4MQTT\4" + bytes((flags,)) + mqtt.u16(keepalive_s) + payload
