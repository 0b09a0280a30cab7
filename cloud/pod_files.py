"""The ConfigMaps and Secrets that pods on nodes name: read when they are named, and again when they change. No I/O.

Of all others in the cluster only names and versions pass by. It is a `writes.Writer` whose requests read; keys are as the link
has them, `<ns>/configmap|secret/<name>`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cloud.objects import CONFIGMAPS, SECRETS, Object, ObjectError, parse
from cloud.writes import Answer, Request, Writes
from edgewire import resource

log = logging.getLogger(__name__)

_TYPES = {resource.CONFIGMAP: CONFIGMAPS, resource.SECRET: SECRETS}


@dataclass(slots=True)
class _File:
    users: int = 0
    """Pods that name it."""
    known: bool = False
    """Whether it was read, or is known not to be there."""
    object: Object | None = None


class PodFiles:
    """Those of one cluster."""

    def __init__(self, reads: Writes, changed: Callable[[str, bool], None]) -> None:
        """`reads` paces the reading; `changed` is told of a key that is otherwise now, and whether it was read for the first
        time since pods name it."""
        self._reads = reads
        self._changed = changed
        self._files: dict[str, _File] = {}

    def need(self, key: str) -> None:
        """One more pod names it."""
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _File()
            self._reads.mark(key)
        file.users += 1

    def release(self, key: str) -> None:
        """One pod less names it."""
        file = self._files[key]
        file.users -= 1
        if not file.users:
            del self._files[key]
            self._reads.forget(key)

    def is_known(self, key: str) -> bool:
        """Whether it has been read since it was named, or is known not to be there."""
        file = self._files.get(key)
        return file is not None and file.known

    def get(self, key: str) -> Object | None:
        """As it was read last."""
        file = self._files.get(key)
        return file.object if file is not None else None

    def happened(self, key: str, version: str) -> None:
        """The list-watch says that it has this version; none when it is gone."""
        file = self._files.get(key)
        if file is not None and (file.object is None or file.object.version != version):
            self._reads.mark(key)

    # writes.Writer

    def request(self, key: str) -> Request | None:
        """Reads one."""
        if key not in self._files:
            return None
        named = resource.parse(key)
        return Request("GET", _TYPES[named.type].path(named.namespace, named.name), b"", "")

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to that."""
        file = self._files.get(key)
        if file is None:
            return False
        found: Object | None = None
        if answer.ok:
            try:
                found = parse(answer.body)
            except ObjectError as error:
                log.warning("< unreadable key=%s reason=%s", key, error)
        elif answer.status == 403:
            log.warning("< may not be read key=%s reason=%r", key, answer.reason)
            if file.known:
                return True
        elif answer.transient:
            return True
        first, before = not file.known, file.object
        file.known, file.object = True, found
        if first or found != before:
            self._changed(key, first)
        return answer.status == 403
