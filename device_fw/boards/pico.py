"""Raspberry Pi Pico (RP2040). No network: its transport is the serial link. 23, 24 and 29 serve the board, 25 is the LED."""

PLATFORM = "rp2"
ARCH = "armv6m"
PINS = tuple(range(23)) + (25, 26, 27, 28, "LED")
ANALOG = (26, 27, 28)
OUTPUTS = PINS
I2C = (4, 5)
ADC_VOLTS = 3.3
NETWORK = False
WATCHDOG_MS = 8388  # 24 bits of half microseconds


def temperature() -> float:
    """Of the chip, in degrees Celsius (RP2040 data sheet, 4.9.5)."""
    from machine import ADC

    volts = float(ADC(ADC.CORE_TEMP).read_u16()) * ADC_VOLTS / 65535
    return 27 - (volts - 0.706) / 0.001721
