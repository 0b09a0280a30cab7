"""What differs from board to board. One module a board with pins and features only; `hardware.py` makes the rest of it.

A `Board` is made from the configuration (`device_fw/contracts.py` says what it offers). Properties with a `driver` make it one of
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

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.contracts import Board


def load(config: "dict[str, Any]") -> "Board":
    """The board that the configuration describes. ImportError when there is none of that name, ValueError when it is wrong."""
    if config["board"] == "unix" and not has_drivers(config["properties"]):
        from device_fw.boards import demo

        return demo.Board(config)
    from device_fw.boards import hardware

    board: Board = hardware.Board(config)
    return board


def has_drivers(properties: "dict[str, Any]") -> bool:
    """Whether these properties of a configuration are made of drivers."""
    for entry in properties.values():
        if "driver" in entry:
            return True
    return False
