"""Brokers as processes, and clients for them: what the conformance suite and the crash test are made of.

`BuiltIn` and `Mosquitto` start, stop, restart and kill a broker that keeps its state in a folder. `Raw` is a client that does
exactly what it is told, packet by packet; `Paho` is a real one.
"""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Connack,
    Connect,
    Packet,
    Publish,
    Suback,
    encode_ack,
    encode_connect,
    encode_publish,
    encode_subscribe,
)
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.users import User

DEADLINE_S = 10.0
ROOT = Path(__file__).parents[3]


class BrokerProcess:
    """A broker on a loopback port of its own, with its state and log in `folder`."""

    name = ""
    start_s = 60.0
    """For it to come up, on a machine that has much else to do."""

    def __init__(self, folder: Path, users: list[User] | None = None, settings: dict[str, Any] | None = None) -> None:
        """Every user's password is its name. `settings` are lines of the broker's own configuration, key -> value."""
        self.folder = folder
        self.users = users
        self.settings = settings or {}
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=ROOT, stdout=log, stderr=log)
        until(self._accepts, f"{self.name} listens, see {self.folder / 'log'}", self.start_s)

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            for port in self.ports:
                socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port it listens on once it is started."""
        return (self.port,)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(DEADLINE_S)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def reload(self) -> None:
        """Ask it to read its files again."""
        os.kill(self.pid, signal.SIGHUP)

    def log(self) -> str:
        """All that it logged."""
        return (self.folder / "log").read_text()

    def fail(self) -> None:
        """Restart in the hardest way that it promises to survive."""
        self.restart(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class BuiltIn(BrokerProcess):
    """The broker under test."""

    name = "built-in"

    @property
    def ports(self) -> tuple[int, ...]:
        """The one for TLS is opened last."""
        tls = self.settings.get("tls")
        return (self.port, tls["port"]) if tls else (self.port,)

    def command(self) -> list[str]:
        settings: dict[str, Any] = {"port": self.port}
        if self.users is not None:
            entries = [
                f"- {{name: {user.name}, password: {hash_password(user.name)}, "
                f"publish: {list(user.publish)}, subscribe: {list(user.subscribe)}}}\n"
                for user in self.users
            ]
            (self.folder / "users.yaml").write_text("users:\n" + "".join(entries))
            settings["users_file"] = "users.yaml"
        settings |= self.settings
        (self.folder / "edgecore.yaml").write_text(json.dumps({"broker": settings}))  # JSON is YAML
        return [sys.executable, "-m", "edge_gateway.broker.tests.process", str(self.folder)]


class Mosquitto(BrokerProcess):
    """The broker that the one under test is measured by."""

    name = "mosquitto"

    def fail(self) -> None:
        """It writes its state when it is stopped, or every second."""
        self.restart(signal.SIGTERM)

    def command(self) -> list[str]:
        config = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
        ]
        if self.users is None:
            if "allow_anonymous" not in self.settings:
                config.append("allow_anonymous true")
        else:
            passwords, permissions = self.folder / "passwords", self.folder / "acl"
            passwords.touch(mode=0o700)
            for user in self.users:
                subprocess.run(
                    ["mosquitto_passwd", "-b", passwords, user.name, user.name], check=True, timeout=DEADLINE_S
                )
            lines = []
            for user in self.users:
                lines.append(f"user {user.name}")
                lines += [f"topic write {name}" for name in user.publish]
                lines += [f"topic read {name}" for name in user.subscribe]
            permissions.write_text("\n".join(lines) + "\n")
            permissions.chmod(0o700)
            config += ["allow_anonymous false", f"password_file {passwords}", f"acl_file {permissions}"]
        config += [f"{key} {str(value).lower() if value is True else value}" for key, value in self.settings.items()]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(config) + "\n")
        return [mosquitto_binary(), "-c", str(path), "-v"]


def mosquitto_binary() -> str:
    """Where mosquitto is; without it the test is skipped, except in CI, where that is a failure."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed (make test-deps)")
        pytest.skip("MOSQUITTO IS NOT INSTALLED, the comparison with it is not made (make test-deps)")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait for a condition that only looking can tell."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Closed(Exception):
    """The broker closed the connection."""


class Raw:
    """A client packet by packet, over a plain socket."""

    def __init__(self, broker: BrokerProcess, port: int | None = None, context: ssl.SSLContext | None = None) -> None:
        """With a `context`, over TLS."""
        self.socket = socket.create_connection(("127.0.0.1", port or broker.port), timeout=DEADLINE_S)
        if context is not None:
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
            except BaseException:
                self.socket.close()
                raise
        self.session_present = False
        self._decoder = Decoder(1 << 24)
        self._packets: list[Packet] = []

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *why: object) -> None:
        self.drop()

    def connect(self, client_id: str, **fields: Any) -> "Raw":
        self.send(encode_connect(Connect(client_id, **fields)))
        connack = self.next()
        assert isinstance(connack, Connack)
        assert connack.code == 0, connack
        self.session_present = connack.session_present
        return self

    def subscribe(self, *filters: str, qos: int = 1) -> bytes:
        self.send(encode_subscribe(1, [(name, qos) for name in filters]))
        suback: Suback = self.next(Suback)
        return suback.codes

    def publish(self, topic: str, payload: bytes = b"", qos: int = 1, retain: bool = False, packet_id: int = 1) -> None:
        """Publish, and with QoS 1 and 2 wait until the broker has it."""
        self.send(encode_publish(topic, payload, qos, retain, packet_id=packet_id))
        if qos == 1:
            assert self.next() == Ack(PUBACK, packet_id)
        elif qos == 2:
            assert self.next() == Ack(PUBREC, packet_id)
            self.send(encode_ack(PUBREL, packet_id))
            assert self.next() == Ack(PUBCOMP, packet_id)

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def next(self, kind: Any = None) -> Any:
        """The next packet; with `kind` the next of that class, what comes before it is left out."""
        while True:
            while self._packets:
                packet = self._packets.pop(0)
                if kind is None or isinstance(packet, kind):
                    return packet
            data = self.socket.recv(65_536)
            if not data:
                raise Closed
            self._packets += self._decoder.feed(data)

    def messages_until(self, topic: str) -> list[Publish]:
        """What comes up to a message of `topic`, itself left out."""
        messages: list[Publish] = []
        while (packet := self.next(Publish)).topic != topic:
            messages.append(packet)
        return messages

    def wait_closed(self) -> list[Packet]:
        """Wait until the broker closes the connection; what it sent before."""
        while True:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                data = b""
            if not data:
                packets, self._packets = self._packets, []
                return packets
            self._packets += self._decoder.feed(data)

    def drop(self) -> None:
        """Lose the connection without DISCONNECT."""
        self.socket.close()


class Paho:
    """paho-mqtt with waits that have a deadline."""

    def __init__(
        self,
        broker: BrokerProcess,
        client_id: str,
        *,
        clean: bool = True,
        user: str | None = None,
        password: str | None = None,
        protocol: MQTTProtocolVersion = paho.MQTTv311,
        port: int | None = None,
    ) -> None:
        self.changed = threading.Condition()
        self.codes: list[int] = []
        self.session_present = False
        self.granted: list[int] = []
        self.messages: list[paho.MQTTMessage] = []
        self._port = port or broker.port
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if protocol == paho.MQTTv5 else clean,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        if user is not None:
            self.client.username_pw_set(user, password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message

    def connect(self) -> "Paho":
        """Connect and wait for the CONNACK, whatever its code."""
        before = len(self.codes)
        self.client.connect("127.0.0.1", self._port, keepalive=30)
        self.client.loop_start()
        self.wait(lambda: len(self.codes) > before, "CONNACK")
        return self

    def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        before = len(self.granted)
        self.client.subscribe([(name, qos) for name in filters])
        self.wait(lambda: len(self.granted) > before, "SUBACK")
        return self.granted[before:]

    def publish(self, topic: str, payload: bytes = b"", qos: int = 1, retain: bool = False) -> None:
        """Publish, and with QoS 1 wait for the PUBACK."""
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(DEADLINE_S)
        assert info.is_published()

    def wait_messages(self, count: int) -> list[tuple[str, bytes]]:
        """Topic and payload of all messages, once there are `count`."""
        self.wait(lambda: len(self.messages) >= count, f"{count} messages")
        return [(message.topic, bytes(message.payload)) for message in self.messages]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S), f"not within {DEADLINE_S} s: {what}"

    def close(self) -> None:
        """DISCONNECT."""
        self.client.disconnect()
        self.client.loop_stop()
        # paho closes its pair of sockets when it is deleted. In a cycle the collector may take the sockets first, and warn.
        self.client.on_connect = self.client.on_message = self.client.on_subscribe = None

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self.changed:
            self.session_present = flags.session_present
            self.codes.append(reason.value)
            self.changed.notify_all()

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        with self.changed:
            self.granted += [reason.value for reason in reasons]
            self.changed.notify_all()

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()
