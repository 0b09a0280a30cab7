"""Raspberry Pi Pico W (RP2040 with Wi-Fi). Pins 23, 24, 25 and 29 serve the radio; the LED hangs on it, by its name."""

from device_fw.boards import pico

PLATFORM = pico.PLATFORM
ARCH = pico.ARCH
PINS = tuple(range(23)) + (26, 27, 28, "LED")
ANALOG = pico.ANALOG
OUTPUTS = PINS
I2C = pico.I2C
ADC_VOLTS = pico.ADC_VOLTS
NETWORK = True
WATCHDOG_MS = pico.WATCHDOG_MS
temperature = pico.temperature
