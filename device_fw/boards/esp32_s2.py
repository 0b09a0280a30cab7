"""ESP32-S2. Pins 26 to 32 hold the flash, 19 and 20 are USB, 0, 45 and 46 decide how the chip starts.

ADC2 is the radio's own.
"""

PLATFORM = "esp32"
ARCH = "xtensawin"
PINS = tuple(range(1, 19)) + (21,) + tuple(range(33, 46))
ANALOG = tuple(range(1, 11))
OUTPUTS = PINS
I2C = (8, 9)
ADC_VOLTS = 3.3
NETWORK = True
WATCHDOG_MS = 600000


def temperature() -> float:
    """Of the chip, in degrees Celsius."""
    from esp32 import mcu_temperature

    return float(mcu_temperature())
