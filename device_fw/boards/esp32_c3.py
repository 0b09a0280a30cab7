"""ESP32-C3. Pins 12 to 17 hold the flash, 18 and 19 are USB, 2, 8 and 9 decide how the chip starts.

ADC2 is the radio's own.
"""

PLATFORM = "esp32"
ARCH = "rv32imc"
PINS = tuple(range(11)) + (20, 21)
ANALOG = tuple(range(5))
OUTPUTS = PINS
I2C = (6, 7)
ADC_VOLTS = 3.3
NETWORK = True
WATCHDOG_MS = 600000


def temperature() -> float:
    """Of the chip, in degrees Celsius."""
    from esp32 import mcu_temperature

    return float(mcu_temperature())
