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

A firmware without drivers is the demo's, with the board in `demo.py`.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.contracts import Board


def load(config: "dict[str, Any]") -> "Board":
    """The board that the configuration describes. ValueError when it is wrong."""
    try:
        from device_fw.boards import equipment
    except ImportError:  # the demo's firmware has its own board, and no drivers
        from device_fw.boards import demo

        return demo.Board(config)
    return equipment.load(config)
