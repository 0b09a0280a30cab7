"""The MQTT broker of a bench: mosquitto in a process of its own, its faults, and a transcript of all that goes through it."""

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from msgspec import Struct
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hil_tests.bench.boards import BoardError, Transcript
from hil_tests.bench.mosquitto import MosquittoMissing, free_port, until_listening

_STOP_S = 5.0
_ANSWER_S = 10.0
_LONGEST = 2000


class ServerTls(Struct, frozen=True):
    """PEM files of a listener with TLS."""

    certificate: Path
    key: Path


class BenchBroker:
    """One broker, on one port over all its starts. Sessions and retained messages outlive its death."""

    name = kind = "broker"

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: ServerTls | None = None) -> None:
        """It listens on the address that boards see, with `tls` by TLS on `tls_port` too. Raises MosquittoMissing."""
        binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise MosquittoMissing("mosquitto is not installed; `make test-deps` installs it")
        folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port = host, free_port()
        self.tls_port = free_port() if tls is not None else 0
        self.transcript = Transcript(folder / "messages.log")
        self._log = folder / "mosquitto.log"
        self._command = [binary, "-c", str(folder / "mosquitto.conf")]
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} {host}\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n"
            "autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 1000\nuser root\n"
            + (f"listener {self.tls_port} {host}\ncertfile {tls.certificate}\nkeyfile {tls.key}\n" if tls else "")
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: Client | None = None

    def power_on(self) -> None:
        """Start it, and listen to everything."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        until_listening(self._process, self.port, self._log, self.host)
        self._watch()

    def power_off(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def cycle(self) -> None:
        """Kill it and start it again."""
        self.power_off()
        self.power_on()

    @property
    def faults(self) -> tuple[str, ...]:
        """Names for `fault`."""
        return ("none", "frozen")

    def fault(self, name: str, value: int = 1) -> None:
        """`frozen`: SIGSTOP; its connections stay, and nothing is answered."""
        if name not in self.faults:
            raise KeyError(name)
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if name == "frozen" else signal.SIGCONT)

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait for a message, as a line `<topic> <payload>`."""
        return self.transcript.expect(pattern, timeout_s)

    def publish(self, topic: str, payload: str | bytes, *, qos: int = 1) -> None:
        """Say something to the boards. BoardError when it is not acknowledged."""
        if self._watcher is None:
            raise BoardError("the broker is off")
        sent = self._watcher.publish(topic, payload, qos)
        sent.wait_for_publish(_ANSWER_S)
        if not sent.is_published():
            raise BoardError(f"the broker took no message on {topic}")

    def close(self) -> None:
        """Stop it."""
        self._end(signal.SIGTERM)

    def _watch(self) -> None:
        heard = threading.Event()
        watcher = Client(CallbackAPIVersion.VERSION2)
        watcher.on_message = self._on_message
        watcher.on_subscribe = lambda *_: heard.set()
        watcher.connect(self.host, self.port, keepalive=60)
        watcher.loop_start()
        watcher.subscribe([("#", 1), ("$hw/#", 1)])
        self._watcher = watcher
        if not heard.wait(_ANSWER_S):
            raise BoardError("the broker does not let the bench listen")

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.transcript.write(f"{message.topic} ".encode() + bytes(message.payload)[:_LONGEST] + b"\n")

    def _end(self, number: int) -> None:
        watcher, self._watcher = self._watcher, None
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)  # a frozen one could not stop
        if watcher is not None:
            watcher.disconnect()
            watcher.loop_stop()
            # paho closes its pair of sockets when it is deleted; in a cycle the collector may take the sockets first, and warn
            watcher.on_message = watcher.on_subscribe = None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
