"""The boot code of a board: chooses a slot, checks it, runs it. On the board it is the package `hedgerow_boot`.

No update ever writes it. It stays what it was when the board was flashed, so it is small, imports nothing of a slot, and what
it hands to the firmware (`start.Boot`) keeps its names: a firmware years from now meets this code. `docs/ota.md` says what
that protects from.
"""
