"""A driver to begin with, for devices that answer `GET name` and `SET name value` over TCP, a line each.

`hedgerow mapper new` writes a copy of this package under another name.
"""
