"""umqtt.simple's whole interface on the repaired link, for programs of one's own; the firmware does without and leaves it out."""

from device_fw.firmware import mqtt_packets as mqtt
from device_fw.firmware.mqtt_link import MqttLink


class MqttClient(MqttLink):
    """`publish`, `check_msg`, `wait_msg` and `disconnect` as in umqtt.simple, with deadlines."""

    def publish(self, topic: "str | bytes", msg: "str | bytes", retain: bool = False, qos: int = 0) -> None:
        """Send a message; at QoS 1 wait for its PUBACK, handling other packets meanwhile."""
        self.send(topic, msg, qos, retain)
        while not self.idle:
            self.poll(self.timeout_ms)

    def check_msg(self) -> bool:
        """`poll` without waiting."""
        return self.poll()

    def wait_msg(self) -> bool:
        """Wait until something came. A link that stays alive and silent keeps the caller here, pinging."""
        while not self.poll(self.timeout_ms):
            pass
        return True

    def disconnect(self) -> None:
        """Take leave, so that the broker does not announce the last will, and close."""
        with self.closing_on_error:
            self.write(mqtt.DISCONNECT, b"")
        self.close()
