"""A file that says how an emulated instrument misbehaves while it runs, as JSON: `{"silent": true}`; none means it is well."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.1
"""Between two looks at the file."""


async def followed(file: Path, type: type[T]) -> AsyncIterator[T]:
    """What the file says, each time it says something else, until cancelled. What cannot be read is logged and left out."""
    decoder = msgspec.json.Decoder(type)
    said = b"{}"
    while True:
        content = _content(file)
        if content != said:
            said = content
            try:
                found = decoder.decode(content)
            except ValueError as error:  # msgspec's errors are such
                log.warning("= faults not understood file=%s error=%s", file, error)
            else:
                log.info("= faults %s", content.decode().strip())
                yield found
        await asyncio.sleep(LOOK_S)


def _content(file: Path) -> bytes:
    """Of a small file on a local disk: not worth a thread."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b"{}"
