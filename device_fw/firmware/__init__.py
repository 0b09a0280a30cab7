"""What runs on a board: a core without I/O (`agent`, `properties`, `retry`, `timekeeper`) and thin shells: `station`, which joins
them all, the links (`mqtt_link`, `serial_link`), and what not every board has (`tls`, `wifi`, `sntp`, `journal`, `update`).

Every file runs on MicroPython 1.20 or later as it stands; the core also on CPython. On the board the package keeps its
place and name, so that one import line serves both.
"""
