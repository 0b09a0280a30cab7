"""`hedgerow backup` and `hedgerow restore`: the Kubernetes data of a stack in one file.

The file is a gzipped tar, readable by its owner only:

    hedgerow-backup.json     what made it, when, and the SHA-256 of every other file
    kubernetes/objects.db    all objects, in one consistent state
    kubernetes/tokens.yaml   who may use the API
    kubernetes/pki/          its CA and certificate
    cloud/pki/               the link's CA, cloudcore's certificate, and the nodes'

It can be taken while the stack runs. It is put back while nothing runs, whole or not at all.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from cloud.apiserver import copies, credentials
from cloud.apiserver.copies import Facts
from cloud.apiserver.status import ApiError
from cloud.apiserver.storage import DATABASE
from edgewire import __version__
from hedgerow.ownership import owned

FORMAT = 1
MANIFEST = "hedgerow-backup.json"
KUBERNETES, LINK = "kubernetes", "cloud/pki"
"""The folders it holds, below the stack's."""
_NAME = re.compile(rf"({KUBERNETES}|{LINK})(/[\w][\w.-]*)+", re.ASCII)
_CHUNK = 1 << 20
_MANIFEST_LIMIT = 16 << 20


class BackupError(Exception):
    """A backup that cannot be made, or cannot be put back here."""


class Manifest(Struct):
    """What a backup says of itself."""

    format: int
    hedgerow: str
    made: str
    """UTC, RFC 3339."""
    revision: int
    """The newest resourceVersion in it."""
    objects: int
    files: dict[str, str]
    """Name -> SHA-256 of the content."""


class _Head(Struct):
    """What the manifest of any format has."""

    format: int


def make(folder: Path, file: Path) -> Manifest:
    """Write a backup of the stack below a folder, running or not; an older file of that name is replaced.

    Raises BackupError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.absolute().parent) as scratch:
            database = Path(scratch) / DATABASE
            facts = copies.take(folder / KUBERNETES, database)
            files = {f"{KUBERNETES}/{DATABASE}": database} | dict(_beside(folder, Path(scratch) / "beside"))
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            hashes = {name: _hash(path) for name, path in files.items()}
            manifest = Manifest(FORMAT, __version__, made, facts.revision, facts.objects, hashes)
            partial = Path(scratch) / "backup"
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                _write(target, manifest, files)
                target.flush()
                os.fsync(target.fileno())
            partial.replace(file)
            _sync(file.absolute().parent)
    except (OSError, ApiError) as error:
        raise BackupError(f"no backup made: {error}") from error
    return manifest


def restore(folder: Path, file: Path, *, force: bool = False) -> tuple[Manifest, Facts]:
    """Put a backup in place below a folder that nobody uses: what the backup says, and what is there now.

    Objects get newer versions than anybody can have seen. Raises BackupError when the file is damaged or of another format,
    and, unless forced, when there are data already; ChildError while a stack runs in the folder.
    """
    with owned(folder), _at_rest(folder / KUBERNETES):
        taken = [name for name in (KUBERNETES, LINK) if _is_used(folder / name)]
        if taken and not force:
            raise BackupError(f"{' and '.join(str(folder / name) for name in taken)} would be lost: give --force")
        try:
            with tempfile.TemporaryDirectory(prefix=".restore-", dir=folder) as scratch:
                fresh = Path(scratch) / "new"
                manifest = _unpack(file, fresh)
                facts = copies.renew(fresh / KUBERNETES / DATABASE, _newest(folder / KUBERNETES))
                _put(fresh, folder, Path(scratch) / "old")
        except (OSError, ApiError) as error:
            raise BackupError(f"nothing restored: {error}") from error
    return manifest, facts


def _beside(folder: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """The files beside the database: name in the backup, and the path of a copy, which nobody changes meanwhile."""
    single = folder / KUBERNETES / credentials.FILE
    for path in (single, *sorted((folder / KUBERNETES / "pki").rglob("*")), *sorted((folder / LINK).rglob("*"))):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and _NAME.fullmatch(name):  # not what another process is just writing
            copy = scratch / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
            yield name, copy


def _write(target: IO[bytes], manifest: Manifest, files: dict[str, Path]) -> None:
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        head = tarfile.TarInfo(MANIFEST)
        head.size, head.mode, head.mtime = len(content), 0o600, time.time()
        archive.addfile(head, io.BytesIO(content))
        for name, path in files.items():
            info = tarfile.TarInfo(name)
            with path.open("rb") as source:
                found = os.fstat(source.fileno())
                info.size, info.mode, info.mtime = found.st_size, 0o600, found.st_mtime
                archive.addfile(info, source)


def _unpack(file: Path, folder: Path) -> Manifest:
    """Write a backup's files below a new folder, checked. Raises BackupError."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            manifest = _manifest(file, archive)
            while (member := archive.next()) is not None:
                if member.name not in manifest.files or not _NAME.fullmatch(member.name) or not member.isfile():
                    raise BackupError(f"{file} holds {member.name!r}, which does not belong there")
                source = archive.extractfile(member)
                assert source is not None
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                    shutil.copyfileobj(source, out, _CHUNK)
                    out.flush()
                    os.fsync(out.fileno())
    except (tarfile.TarError, EOFError, zlib.error, msgspec.DecodeError, OSError) as error:
        raise BackupError(f"{file} cannot be read: {error}") from error
    for name, digest in manifest.files.items():
        if not (folder / name).exists() or _hash(folder / name) != digest:
            raise BackupError(f"{file} is damaged: {name} is not what was backed up")
    copies.check(folder / KUBERNETES / DATABASE)
    return manifest


def _manifest(file: Path, archive: tarfile.TarFile) -> Manifest:
    head = archive.next()
    source = archive.extractfile(head) if head is not None and head.name == MANIFEST and head.isfile() else None
    if source is None:
        raise BackupError(f"{file} is no backup of Hedgerow")
    content = source.read(_MANIFEST_LIMIT)
    found = msgspec.json.decode(content, type=_Head).format
    if found != FORMAT:
        raise BackupError(f"{file} has format {found}; this Hedgerow reads {FORMAT}")
    return msgspec.json.decode(content, type=Manifest)


def _put(fresh: Path, folder: Path, old: Path) -> None:
    """Exchange folders: both, or, when one cannot be (it is a mount point, say), neither. Raises OSError."""
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        moved.append((source, target))

    try:
        for name in (LINK, KUBERNETES):
            if (folder / name).exists():
                move(folder / name, old / name)
            if (fresh / name).exists():
                move(fresh / name, folder / name)
            _sync((folder / name).parent)
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _newest(folder: Path) -> int:
    """The revision of the data that are replaced; 0 when there are none, or none that can be read."""
    try:
        return copies.check(folder / DATABASE).revision if (folder / DATABASE).exists() else 0
    except ApiError:
        return 0


def _is_used(folder: Path) -> bool:
    return folder.exists() and any(path.name != "lock" for path in folder.iterdir())


@contextlib.contextmanager
def _at_rest(folder: Path) -> Iterator[None]:
    """Keep servers off a data folder of the embedded API. Raises BackupError when one has it."""
    if not (folder / "lock").exists():
        yield
        return
    with (folder / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupError(f"a server runs in {folder}: stop it first") from error
        yield


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
