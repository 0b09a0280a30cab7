"""Small files in which the kernel says something: /proc, /sys, and /etc."""

from pathlib import Path


def text(file: Path) -> str:
    """What a file of the kernel says, without the line feed or zero byte at its end; empty when it says nothing."""
    try:
        return file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
