"""CRC-8 as sensors use it: Sensirion's, most significant bit first, and Maxim's 1-Wire, least significant bit first."""


def sensirion(data: "bytes | bytearray | memoryview") -> int:
    """Polynomial 0x31, begins with 0xFF. 0xBE 0xEF gives 0x92 (data sheet SHT3x-DIS, 4.12)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def maxim(data: "bytes | bytearray | memoryview") -> int:
    """Polynomial 0x31 reflected, begins with 0. 0 over data and their own CRC (Maxim, application note 27)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc
