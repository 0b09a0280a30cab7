"""The parts of a board, put together; each is imported when the configuration, or how the board was booted, asks for it.

What a board does not use costs it flash and no heap. Modules are imported here and not above, the link first: compiling
it takes the most memory, and a heap that is still empty has it.
"""

import sys

from device_fw.firmware.seldom import forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.contracts import Board, Network, Sntp, Updater
    from device_fw.firmware.journal import Journal
    from device_fw.firmware.properties import Property
    from device_fw.firmware.station import Station


def station(config: "dict[str, Any]", board: "Board | None" = None) -> "Station":
    """The station that a configuration describes, with the link of its transport, not yet connected.

    `board` takes the place of the configuration's.
    """
    transport = _module(config["transport"] + "_link")
    if board is None:
        from device_fw import boards

        board = boards.load(config)
        del boards
        forget("device_fw.boards.equipment", "device_fw.boards", "device_fw.drivers")
    link = transport.make(config, board)
    import random

    from device_fw.firmware.agent import Agent
    from device_fw.firmware.log import log
    from device_fw.firmware.retry import Backoff
    from device_fw.firmware.station import Station
    from device_fw.firmware.ticks import Clock

    update = updater(config, board)
    properties = dict(board.properties)
    if update is not None:
        properties.update(update.properties())
    agent = Agent(config["name"], properties, log, config["heartbeat_ms"])
    return Station(
        agent,
        link,
        board,
        Backoff(random.random, limit_ms=getattr(transport, "RETRY_LIMIT_MS", 30000)),
        Clock(),
        update,
        network(config),
        sntp(config),
        journal(config, properties),
    )


def network(config: "dict[str, Any]") -> "Network | None":
    """The network to join; None when the board has one anyway, or needs none."""
    if not config["wifi_ssid"]:
        return None
    import random

    from device_fw.firmware.retry import Backoff
    from device_fw.firmware.wifi import Wifi

    host_name = config["name"].partition("/")[2]
    return Wifi(config["wifi_ssid"], config["wifi_password"], host_name, Backoff(random.random))


def sntp(config: "dict[str, Any]") -> "Sntp | None":
    """The NTP server to ask, if one is named."""
    if not config["ntp"]:
        return None
    import random

    from device_fw.firmware.retry import Backoff
    from device_fw.firmware.sntp import PORT, Sntp

    host, _, port = config["ntp"].partition(":")
    return Sntp(host, Backoff(random.random, limit_ms=60000), int(port or PORT))


def journal(config: "dict[str, Any]", properties: "dict[str, Property]") -> "Journal | None":
    """What keeps the readings of properties with `log` while there is no link; None when there are none, or it cannot tell."""
    names = tuple([name for name in properties if properties[name].log])
    if not names or config["transport"] != "mqtt":
        return None
    from device_fw.firmware.journal import Journal

    return Journal(names, "journal", config["journal_kb"] * 1024)


def updater(config: "dict[str, Any]", board: "Board") -> "Updater | None":
    """What takes new firmware, when the boot code started this one; None when it lies there as plain files."""
    if "hedgerow_boot" not in sys.modules:
        return None
    made: Updater | None = _module("update_parts").make(config, board)
    return made


def _module(name: str) -> "Any":
    return __import__("device_fw.firmware." + name, None, None, ("make",))
