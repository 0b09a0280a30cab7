"""Files that are read again when they change, without a restart."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from edgewire.config import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")
_Signature = list[tuple[int, int, int] | None]


class FileWatch(Generic[T]):
    """Some files that belong together. `look` at them now and then, `reload` them when asked."""

    def __init__(self, files: Sequence[Path], load: Callable[[], T], use: Callable[[T], None]) -> None:
        """`load` reads the files and raises ConfigError when they are no good: then what was read before stays in `use`."""
        self._files = files
        self._load = load
        self._use = use
        self._known = self._seen = self._signature()

    def look(self) -> None:
        """Read the files again if they changed, and are as at the last look: a certificate and its key are two files."""
        found = self._signature()
        settled, self._seen = found == self._seen, found
        if settled and found != self._known:
            self.reload()

    def reload(self) -> None:
        """Read the files again."""
        self._known = self._seen = self._signature()
        names = ",".join(map(str, self._files))
        try:
            loaded = self._load()
        except ConfigError as error:
            log.error("not read again, what was read before holds files=%s reason=%s", names, error)
            return
        log.info("read again files=%s", names)
        self._use(loaded)

    def _signature(self) -> _Signature:
        return [_signature(file) for file in self._files]


def _signature(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino  # mtime would miss that it may be read now
