"""MicroPython's `dht`, on emulated sensors: the five bytes of a DHT11 or DHT22, which stand in `dht`."""

from emulated.surroundings import around as _around

_ETIMEDOUT = 110


def dht_readinto(pin, buffer):
    """Fill the buffer with what the sensor on the pin says. OSError when none does."""
    for said in _around.parts("dht"):
        if said["pin"] == pin.id and said.get("fault") != "silent":
            buffer[:] = frame(said)
            return
    raise OSError(_ETIMEDOUT, "ETIMEDOUT")


def frame(said):
    """The bytes of a DHT22 (tenths in 16 bits) or a DHT11 (whole numbers and tenths), and their sum."""
    humidity = int(said.get("humidity", 50.0) * 10 + 0.5)
    celsius = int(abs(said.get("temperature", 20.0)) * 10 + 0.5)
    minus = said.get("temperature", 20.0) < 0
    if said.get("kind", "dht22") == "dht11":
        data = (humidity // 10, humidity % 10, celsius // 10, celsius % 10 | minus << 7)
    else:
        data = (humidity >> 8, humidity & 0xFF, celsius >> 8 | minus << 7, celsius & 0xFF)
    return bytes(data) + bytes(((sum(data) + (said.get("fault") == "crc")) & 0xFF,))
