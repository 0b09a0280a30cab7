"""What runs on a board: a core without I/O (`agent`, `properties`, `retry`) and thin shells (`mqtt_link`, `station`, `main`).

Every file runs on MicroPython 1.20 or later as it stands; the core also on CPython. On the board the package keeps its
place and name, so that one import line serves both.
"""
