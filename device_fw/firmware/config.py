"""The configuration of a board: one JSON object, read on the board, and checked alike by the tools that write it."""

import json

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

TRANSPORTS = ("mqtt", "serial")

# Every key, and its default; None must be given.
DEFAULTS: "dict[str, object]" = {
    "name": None,  # the device, "<namespace>/<name>"
    "transport": "mqtt",  # one of TRANSPORTS
    "host": "",  # the MQTT broker: the gateway; needed for that transport
    "port": 1883,  # 8883 with TLS
    "ca": "",  # a file on the board, DER; given: TLS, and the broker's certificate must be signed by it
    "server_name": "",  # in the broker's certificate; empty: host
    "certificate": "",  # the board's own, and its key: files, DER
    "key": "",
    "user": "",  # of the device at the broker; empty: none
    "password": "",
    "client_id": "",  # empty: the device's name
    "wifi_ssid": "",  # empty: the board has another network, or joins by itself
    "wifi_password": "",  # empty: an open network
    "ntp": "",  # host or host:port of an NTP server; empty: the gateway's time counts
    "serial": {},  # the line of that transport: {"uart": 0, "baud": 115200, "tx": 0, "rx": 1}; empty: USB, the console
    "board": "unix",  # a module of device_fw.boards
    "heartbeat_ms": 60000,  # everything is reported at least this often
    "keepalive_s": 30,  # MQTT's; a silent broker is noticed after half of it and timeout_ms; 0: never, unless we send
    "timeout_ms": 5000,  # of every wait on the link
    "watchdog_ms": 0,  # a board that makes no progress for so long is reset; 0: it is not; boards limit it, an RP2 to 8388
    "max_packet": 16384,  # bytes; larger messages are skipped
    "journal_kb": 64,  # of flash, at most, for readings of properties with `log` while there is no link
    "seed": 1,  # of a simulated sensor
    "properties": {},  # by name, keys of `Property` that differ from the board's own; see docs/firmware.md
}


def check(values: object) -> "dict[str, Any]":
    """The configuration with every key filled in. ValueError, naming the key, when one is unknown, missing or of a wrong type."""
    if not isinstance(values, dict):
        raise ValueError("the configuration is no JSON object")
    for key in values:
        if key not in DEFAULTS:
            raise ValueError("unknown key {}; known are {}".format(key, ", ".join(sorted(DEFAULTS))))
    config: "dict[str, Any]" = {}
    for key, default in DEFAULTS.items():
        value: "Any" = values.get(key, default)
        if value is None:
            raise ValueError("key {} is missing".format(key))
        wanted = str if default is None else type(default)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError("key {}: {!r} is no {}".format(key, value, wanted.__name__))
        if (
            isinstance(value, int) and value < 1 and key not in ("keepalive_s", "seed", "watchdog_ms")
        ):  # there, 0 means something
            raise ValueError("key {}: {} is not above 0".format(key, value))
        if isinstance(value, int) and value > 65535 and key in ("port", "keepalive_s"):
            raise ValueError("key {}: {} is above 65535".format(key, value))
        config[key] = value
    if config["transport"] not in TRANSPORTS:
        raise ValueError("key transport: {!r} is none of {}".format(config["transport"], ", ".join(TRANSPORTS)))
    if config["transport"] == "mqtt" and not config["host"]:
        raise ValueError("key host is missing")
    if config["ca"] and "port" not in values:
        config["port"] = 8883
    for key, needed in (("server_name", "ca"), ("certificate", "ca"), ("certificate", "key"), ("key", "certificate")):
        if config[key] and not config[needed]:
            raise ValueError("key {} is missing: {} needs it".format(needed, key))
    port = config["ntp"].partition(":")[2]
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("key ntp: {!r} is not host or host:port".format(config["ntp"]))
    namespace, _, name = config["name"].partition("/")
    if not namespace or not name or "/" in name:
        raise ValueError("key name: {!r} is not <namespace>/<name>".format(config["name"]))
    return config


def load(path: str) -> "dict[str, Any]":
    """Read and check a configuration file. OSError when there is none, ValueError when it is wrong."""
    with open(path) as file:
        return check(json.load(file))
