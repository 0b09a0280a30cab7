"""The least a Python program could do in a mapper's place: pymodbus reads, a loop scales, paho publishes. No checks, no states.

    python -m bench.modbus_bare_loop --broker 1883 --cycle-ms 150 --ports 5020 5021

It is what the mapper's own figures are read against, on the same machine at the same time.
"""

import argparse
import asyncio
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient

from edgewire import board, topics

TAGS = 100


async def poll(number: int, port: int, cycle_s: float, mqtt: paho.Client) -> None:
    """Read one device and publish its values, for ever."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    topic = topics.of_device(f"default/d{number}", topics.UPDATE)
    names = [f"p{n}" for n in range(TAGS)]
    due = time.monotonic()
    while True:
        answer = await client.read_holding_registers(0, count=TAGS, device_id=1)
        at = time.time_ns() // 1_000_000
        values = {name: (f"{word / 10:.1f}", at) for name, word in zip(names, answer.registers, strict=True)}
        mqtt.publish(topic, board.report(values), 1)
        due += cycle_s
        await asyncio.sleep(due - time.monotonic())


async def run(ports: list[int], cycle_s: float, broker: int) -> None:
    """Poll every port."""
    mqtt = paho.Client(CallbackAPIVersion.VERSION2)
    mqtt.connect("127.0.0.1", broker)
    connected = mqtt.socket()
    assert connected is not None
    asyncio.get_running_loop().add_reader(connected.fileno(), mqtt.loop_read)
    await asyncio.gather(*(poll(number, port, cycle_s, mqtt) for number, port in enumerate(ports)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A bare loop of pymodbus and paho.")
    parser.add_argument("--broker", type=int, required=True)
    parser.add_argument("--cycle-ms", type=float, required=True)
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    options = parser.parse_args()
    asyncio.run(run(options.ports, options.cycle_ms / 1000, options.broker))


if __name__ == "__main__":
    main()
