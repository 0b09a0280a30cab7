"""The firmware of MicroPython boards, what differs from board to board, and the tools that put it there."""
