"""What differs from board to board. One module a board with pins and features only; `hardware.py` makes the rest of it.

`device_fw/contracts.py` says what a `Board` offers. Its properties come with the firmware (`own.py`, made of the board file, so
that an update brings its own), changed by `properties` of this one board's configuration. Those with a `driver` make it a
`hardware.Board`, with what the module named by `board` says of pins and features:

    PLATFORM = "rp2"                  # sys.platform of its MicroPython
    ARCH = "armv6m"                   # for which mpy-cross compiles native code
    PINS = (0, 1, 2, ...)             # that may be used, by number or name
    ANALOG = (26, 27, 28)             # those that an ADC reads
    OUTPUTS = PINS                    # those that can drive
    I2C = (4, 5)                      # sda and scl where the board file names none
    ADC_VOLTS = 3.3                   # at which the ADC reads 65535; a calibrated one (`read_uv`) does not need it
    NETWORK = True                    # whether MQTT is possible
    WATCHDOG_MS = 8388                # the longest time-out of its watchdog
    def temperature(): ...            # of the chip, in degrees Celsius

The Unix board without drivers is the demo's, in `demo.py`.
"""

import sys

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.contracts import Board


def load(config: "dict[str, Any]") -> "Board":
    """The board that the configuration describes. ImportError when there is none of that name, ValueError when it is wrong."""
    properties = with_changes(_own(), config["properties"])
    if config["board"] == "unix" and not has_drivers(properties):
        from device_fw.boards import demo

        return demo.Board(config)
    from device_fw.boards import hardware

    return hardware.Board(config["board"], properties, watchdog_ms=config["watchdog_ms"])


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
    sys.modules.pop("device_fw.boards.own")  # read once: forget it, here too
    globals().pop("own", None)
    return found


def has_drivers(properties: "dict[str, Any]") -> bool:
    """Whether these properties are made of drivers."""
    for entry in properties.values():
        if "driver" in entry:
            return True
    return False
