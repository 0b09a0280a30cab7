"""The firmware's entry: reads `config.json`, builds the parts, runs the station. On a board it lies in the root folder."""

import gc
import os
import random

from device_fw import boards
from device_fw.firmware.agent import Agent
from device_fw.firmware.config import load
from device_fw.firmware.log import log
from device_fw.firmware.mqtt_link import MqttLink
from device_fw.firmware.retry import Backoff
from device_fw.firmware.station import Station
from device_fw.firmware.ticks import Clock

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Run until the power goes, or Ctrl-C on a console."""
    config = load("config.json")
    random.seed(int.from_bytes(os.urandom(4), "big"))  # boards switched on together must not retry together
    board = boards.load(config)
    link = MqttLink(
        config["client_id"] or config["name"],
        config["host"],
        config["port"],
        config["user"] or None,
        config["password"] or None,
        config["keepalive_s"],
        config["timeout_ms"],
        config["max_packet"],
    )
    agent = Agent(config["name"], board.properties, log, config["heartbeat_ms"])
    station = Station(agent, link, board, Backoff(random.random), Clock())
    log("started", device=agent.device, board=config["board"], **settle_heap())
    try:
        station.run()
    finally:
        link.close()  # without a farewell: the broker announces the last will


def settle_heap() -> "dict[str, int]":
    """Collect now, and from now on early: the heap of a board that runs for years must not fall to pieces. In bytes."""
    heap: "Any" = gc  # CPython's has other names
    heap.collect()
    heap.threshold(8192)
    return {"heap_used": heap.mem_alloc(), "heap_free": heap.mem_free()}


if __name__ == "__main__":
    main()
