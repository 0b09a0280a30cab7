"""What goes wrong with the tools that make firmware."""


class FirmwareError(Exception):
    """The firmware could not be put together; the text says why and what would help."""
