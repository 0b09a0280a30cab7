"""A publisher in a process of its own: twin reports at QoS 1, one connection a device, every value different.

    python -m bench.publisher --port 1883 --devices 50 --seconds 30 [--rate 1000] [--window 20] [--users FOLDER]

Without a rate it sends as fast as PUBACKs come, `window` reports unacknowledged a device; with one it keeps to the clock
whatever the answers do, and measures each report from the moment it was due. It prints one line of JSON: reports sent and
acknowledged, seconds, reports per second, latency percentiles in ms, when it ended (Unix time), and the last value of
every device.
"""

import argparse
import asyncio
import json
import statistics
import time
from functools import partial

from edge_gateway.broker import packets
from edgewire import board, topics

PROPERTY = "value"
DRAIN_S = 30.0
_PUBACK_SIZE = 4


class Device(asyncio.Protocol):
    """One device's connection."""

    def __init__(self, name: str, window: int, ended: asyncio.Event) -> None:
        self.id = f"default/{name}"
        self.topic = topics.of_device(self.id, topics.UPDATE)
        self.connected = asyncio.get_running_loop().create_future()
        self.sent = self.acknowledged = 0
        self.latencies: list[float] = []
        self.flooding = False
        self._window = window
        self._due: dict[int, float] = {}
        self._ended = ended
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(packets.encode_connect(packets.Connect(self.id, keepalive=60)))

    def data_received(self, data: bytes) -> None:
        """A CONNACK, then PUBACKs: four bytes each (MQTT 3.1.1, sections 3.2 and 3.4)."""
        now = time.perf_counter()
        data = self._buffer + data
        whole = len(data) - len(data) % _PUBACK_SIZE
        self._buffer = data[whole:]
        for at in range(0, whole, _PUBACK_SIZE):
            if data[at] == packets.CONNACK << 4:
                self.connected.set_result(data[at + 3])
            else:
                packet_id = data[at + 2] << 8 | data[at + 3]
                self.latencies.append(now - self._due.pop(packet_id))
                self.acknowledged += 1
        if self.flooding:
            self.fill()
        elif not self._due:
            self._ended.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    def fill(self) -> None:
        """Send until the window is full, in one write."""
        self._transport.write(b"".join(self._report(time.perf_counter()) for _ in range(self._window - len(self._due))))

    def send(self, due: float) -> None:
        """Send one report that was due at `due`."""
        self._transport.write(self._report(due))

    def _report(self, due: float) -> bytes:
        self.sent += 1
        packet_id = self.sent % 65535 + 1
        self._due[packet_id] = due
        payload = board.report({PROPERTY: (str(self.sent), time.time_ns() // 1_000_000)}, f"e{self.sent}")
        return packets.encode_publish(self.topic, payload.encode(), qos=1, packet_id=packet_id)


async def run(port: int, count: int, seconds: float, rate: float, window: int) -> dict[str, object]:
    """Publish and measure; the keys are those of the printed line."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    devices = []
    for number in range(count):
        _, device = await loop.create_connection(partial(Device, f"bench-{number}", window, ended), "127.0.0.1", port)
        devices.append(device)
    codes = await asyncio.gather(*(device.connected for device in devices))
    assert not any(codes), f"refused: {codes}"
    began = time.perf_counter()
    await (_pace(devices, seconds, rate, began) if rate else _flood(devices, seconds))
    async with asyncio.timeout(DRAIN_S):
        while any(device.acknowledged < device.sent for device in devices):
            ended.clear()
            await ended.wait()
    took, at = time.perf_counter() - began, time.time()
    latencies = sorted(1e3 * latency for device in devices for latency in device.latencies)
    acknowledged = sum(device.acknowledged for device in devices)
    return {
        "acknowledged": acknowledged,
        "seconds": took,
        "ended": at,
        "per_second": acknowledged / took,
        "p50_ms": statistics.median(latencies),
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "max_ms": latencies[-1],
        "last": {device.id: str(device.sent) for device in devices},
    }


async def _flood(devices: list[Device], seconds: float) -> None:
    for device in devices:
        device.flooding = True
        device.fill()
    await asyncio.sleep(seconds)
    for device in devices:
        device.flooding = False


async def _pace(devices: list[Device], seconds: float, rate: float, began: float) -> None:
    for number in range(int(seconds * rate)):
        due = began + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        devices[number % len(devices)].send(due)


def main() -> None:
    """Parse the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=0, help="reports per second; 0: as fast as acknowledged")
    parser.add_argument("--window", type=int, default=20)
    options = parser.parse_args()
    result = asyncio.run(run(options.port, options.devices, options.seconds, options.rate, options.window))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
