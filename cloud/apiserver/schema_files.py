"""The schemas of the built-in kinds as files in the data folder: made when they are first asked for, and made anew when they are
damaged or another version of the `kubernetes` package is installed.

`index.json` says from which version they are and what is in them, and is written last. They are sent from the file, piece by
piece; nothing of them stays in memory but the names of fields, once a client has asked that its fields be checked.
"""

import asyncio
import hashlib
import logging
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from cloud.apiserver.identity import write_private
from cloud.apiserver.known_fields import KnownFields

log = logging.getLogger(__name__)

_MAKER = "cloud.apiserver.built_in_schemas"
MAKING_S = 60.0
"""Longest that making the files may take; a second on a desktop machine."""
RETRY_S = 60.0
"""After a failure, nobody tries again for so long."""
PIECE_BYTES = 64 << 10
FIELDS = "fields.json"
_INDEX = "index.json"


class _Index(Struct):
    source: str
    """Version of the `kubernetes` package, and what the maker looked like."""
    files: dict[str, str]
    """Name -> SHA-256."""


class SchemaFiles:
    """The files of one data folder."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "schemas"
        self._source: str | None = None
        self._known: KnownFields | None = None
        self._making: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def open(self, group: str, version: str) -> BinaryIO | None:
        """The file of one group and version, at its beginning; None where there is none. The caller closes it.

        It holds one JSON object, name -> schema.
        """
        return await self._open(file_name(group, version))

    async def known_fields(self) -> KnownFields | None:
        """The names of fields of the built-in kinds; None when they cannot be had."""
        if self._known is None:
            file = await self._open(FIELDS)
            if file is not None:
                with file:
                    self._known = msgspec.json.decode(file.read(), type=KnownFields)
        return self._known

    async def close(self) -> None:
        """Stop making them."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)

    async def _open(self, name: str) -> BinaryIO | None:
        found = self._find(name)
        if found is None and await self._made():
            found = self._find(name)
        return found

    def _find(self, name: str) -> BinaryIO | None:
        """A file that is there, whole, and of the installed version."""
        try:
            index = msgspec.json.decode((self._folder / _INDEX).read_bytes(), type=_Index)
            if index.source != self._installed() or name not in index.files:
                return None
            file = (self._folder / name).open("rb")
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if hashlib.file_digest(file, "sha256").hexdigest() != index.files[name]:
            file.close()
            return None
        file.seek(0)
        return file

    def _installed(self) -> str:
        """What the files have to be made from, or "" when the `kubernetes` package is not there."""
        if self._source is None:
            from importlib import metadata  # 0.6 MB that only this needs

            there = util.find_spec("kubernetes") is not None
            maker = hashlib.sha256(Path(__file__).with_name("built_in_schemas.py").read_bytes()).hexdigest()
            self._source = f"{metadata.version('kubernetes')} {maker[:12]}" if there else ""
        return self._source

    async def _made(self) -> bool:
        """Make the files, once for all who wait for them; False when there was no point in trying."""
        loop = asyncio.get_running_loop()
        if self._making is None:
            if not self._installed() or loop.time() < self._not_before:
                return False
            self._not_before = loop.time() + RETRY_S
            self._making = loop.create_task(self._make(), name="schemas")
            self._making.add_done_callback(self._forget)
        await asyncio.shield(self._making)
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._making = None

    async def _make(self) -> None:
        started = asyncio.get_running_loop().time()
        command = (sys.executable, "-m", _MAKER, str(self._folder), self._installed())
        try:
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        except OSError as error:
            log.warning("cannot make schemas error=%s", error)
            return
        try:
            async with asyncio.timeout(MAKING_S):
                _, said = await process.communicate()
        except TimeoutError:
            said = b"it took too long"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            log.warning("cannot make schemas error=%s", said.decode(errors="replace").strip()[-500:])
        else:
            took = asyncio.get_running_loop().time() - started
            log.info("made schemas kubernetes=%s after_s=%.1f", self._installed().partition(" ")[0], took)


def file_name(group: str, version: str) -> str:
    """The file of the schemas of a group and version."""
    return f"{group or 'core'}_{version}.json"


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is left in a file, and close it."""
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def put(folder: Path, name: str, content: bytes) -> None:
    """Put one file in its place."""
    write_private(folder / name, content)


def note(folder: Path, source: str, names: list[str]) -> None:
    """Say that these files are whole, and what they are made from."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    put(folder, _INDEX, msgspec.json.encode(_Index(source, digests)))
