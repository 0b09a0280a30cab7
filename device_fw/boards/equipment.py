"""What a board is equipped with: its properties, as firmware and configuration describe them, and the driver behind each.

Only the start needs this; it is forgotten after it.
"""

from device_fw.boards.hardware import Board, Source
from device_fw.drivers import complete
from device_fw.firmware.properties import Property
from device_fw.firmware.seldom import forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any


def load(config: "dict[str, Any]") -> "Board":
    """The board that the configuration and the firmware describe. ValueError when they are wrong."""
    properties = with_changes(_own(), config["properties"])
    return Board(config["board"], properties, watchdog_ms=config["watchdog_ms"])


def made(name: str, entry: "dict[str, Any]", sources: "list[Source]", buses: "Any") -> "tuple[Property, Source]":
    """One property, and the source of its readings: one of `sources`, or a new one, which joins them.

    ValueError that names the property which is wrong.
    """
    try:
        return _made(name, dict(entry), sources, buses)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("property {}: {}".format(name, error))  # noqa: B904, MicroPython has no "from"


def _made(name: str, entry: "dict[str, Any]", sources: "list[Source]", buses: "Any") -> "tuple[Property, Source]":
    driver, reading, options = entry.pop("driver"), entry.pop("reading"), entry.pop("options", {})
    interval_ms = entry.pop("interval_ms", 0)
    property = Property(**entry)
    kind = module("drivers", driver).Driver
    options = complete(kind.OPTIONS, options)
    if hasattr(kind, "check"):
        kind.check(options)
    source = None
    for one in sources:
        if one.key == (driver, options):
            source = one
    if source is None:
        source = Source((driver, options), kind(buses, options), buses)
        sources.append(source)
    source.add(name, reading, interval_ms or kind.INTERVAL_MS)
    return property, source


def with_changes(own: "dict[str, dict[str, Any]]", changes: "dict[str, dict[str, Any]]") -> "dict[str, dict[str, Any]]":
    """The properties of the firmware, with what the configuration of this one board says of them; neither is changed."""
    properties = dict(own)
    for name, keys in changes.items():
        entry = dict(own.get(name, {}))
        options = dict(entry.get("options", {}))
        entry.update(keys)
        options.update(keys.get("options", {}))
        if options:
            entry["options"] = options
        properties[name] = entry
    return properties


def _own() -> "dict[str, dict[str, Any]]":
    """What the board file that this firmware was made from says; nothing in a firmware without one."""
    try:
        module: Any = __import__("device_fw.boards.own", None, None, ("PROPERTIES",))
    except ImportError:
        return {}
    found: dict[str, dict[str, Any]] = module.PROPERTIES
    forget("device_fw.boards.own")  # read once
    return found


def module(folder: str, name: str) -> "Any":
    """`device_fw.<folder>.<name>`. ValueError when it is not in this firmware."""
    try:
        return __import__("device_fw." + folder + "." + name, None, None, ("Board",))
    except ImportError:
        raise ValueError("no {} {} in this firmware".format(folder[:-1], name))  # noqa: B904, MicroPython has no "from"
