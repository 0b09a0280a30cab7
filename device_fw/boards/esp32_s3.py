"""ESP32-S3. Pins 26 to 37 may hold flash and memory, 19 and 20 are USB, 0, 3, 45 and 46 decide how the chip starts.

ADC2 is the radio's own.
"""

PLATFORM = "esp32"
ARCH = "xtensawin"
PINS = (1, 2) + tuple(range(4, 19)) + (21,) + tuple(range(38, 46)) + (47, 48)
ANALOG = (1, 2) + tuple(range(4, 11))
OUTPUTS = PINS
I2C = (8, 9)
ADC_VOLTS = 3.3
NETWORK = True
WATCHDOG_MS = 600000


def temperature() -> float:
    """Of the chip, in degrees Celsius."""
    from esp32 import mcu_temperature

    return float(mcu_temperature())
