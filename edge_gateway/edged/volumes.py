"""What a pod finds on disk: emptyDir, hostPath, and files from ConfigMaps, Secrets and the pod itself.

    DISK/<uid>/<volume>/       emptyDir                MEMORY/<uid>/<volume>/    emptyDir of medium Memory, and all files

Files change all at once, as a kubelet changes them: they lie in a folder named after the time, `..data` is a link to it that is
exchanged atomically, and what a container opens are links through `..data`. MEMORY is on a tmpfs, so that no Secret is written to
a disk.
"""

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edge_gateway.edged import EdgedError, access, memory_disks, quantities
from edge_gateway.edged.access import Access, NoAccess
from edge_gateway.edged.environment import Content, Facts, Missing, expand, field_of, files_of, resource_of
from edge_gateway.edged.pod_volumes import DownwardFiles, HostPath, KeyToPath, Source, Volume, is_token_volume
from edge_gateway.edged.pods import Container, Pod
from edge_gateway.edged.runtime import Mount
from edgewire import resource
from edgewire.resource import Resource

FILE_MODE = 0o644
FILES_LIMIT = 16 * 1024 * 1024
"""Bytes of a volume's files: a ConfigMap has 1 MiB at most, but a pod may name its keys many times, and all are in memory."""
_KINDS = {
    "Directory": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


class VolumeError(EdgedError):
    """A volume that cannot be made now; the text names it."""


class _File(NamedTuple):
    content: bytes
    mode: int


class Volumes:
    """The volumes of a node's pods."""

    def __init__(
        self, disk: Path, memory: Path, facts: Facts, content: Content, local_api: Access | None = None
    ) -> None:
        """Two folders; `content` gives ConfigMaps and Secrets; `local_api` is what pods that ask get of it."""
        self.local_api: Access = local_api or NoAccess()
        self.disk, self._memory = disk, memory
        self._facts = facts
        self._content = content

    def prepare(self, pod: Pod) -> None:
        """Make the volumes of a pod, or bring their files up to date. Raises VolumeError naming the first that cannot be."""
        for volume in pod.volumes():
            try:
                for folder in (self.disk, self._memory):
                    _make_own(folder)
                self._make(pod, volume)
            except (Missing, VolumeError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
            except OSError as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {_why(error)}') from error
        if self.local_api.asked(pod):
            self._put_access(pod)

    def renew_access(self, pod: Pod) -> None:
        """Have a pod's token for the local API as it is now, if it has one. Raises VolumeError."""
        if self.access_folder(pod).is_dir():
            self._put_access(pod)

    def _put_access(self, pod: Pod) -> None:
        files = {name: _File(content, FILE_MODE) for name, content in self.local_api.files(pod).items()}
        try:
            _make_own(self._memory)
            folder = self.access_folder(pod)
            folder.mkdir(parents=True, exist_ok=True)
            write_files(folder, files, pod.spec.security_context.fs_group)
        except OSError as error:
            raise VolumeError(f"MountVolume.SetUp failed for the local API : {_why(error)}") from error

    def access_folder(self, pod: Pod) -> Path:
        """Where a pod's token is."""
        return self._memory / pod.uid / access.FOLDER

    def access_place(self, pod: Pod) -> str:
        """Where its containers find it."""
        return self.local_api.place or str(self.access_folder(pod))

    def mounts(self, pod: Pod, container: Container, env: Mapping[str, str]) -> Iterator[Mount]:
        """What a container sees where. Raises VolumeError."""
        volumes = {volume.name: volume for volume in pod.volumes()}
        asked, taken = self.local_api.asked(pod), set()
        for mount in container.volume_mounts:
            volume = volumes[mount.name]
            if asked and is_token_volume(volume):
                continue  # the gateway's own stands in its place
            taken.add(mount.mount_path)
            source = self.source(pod, volume)
            within = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path
            if within:
                source = _inside(source, _below(source, within))
                if not source.exists() and volume.host_path is None and volume.empty_dir is None:
                    raise VolumeError(f"volume {volume.name!r} has no {within!r}")
                if not source.exists():
                    source.mkdir(parents=True)
            files = volume.empty_dir is None and volume.host_path is None
            yield Mount(source, mount.mount_path, mount.read_only or files)
        if asked and (place := self.access_place(pod)) not in taken:
            yield Mount(self.access_folder(pod), place, True)

    def remove(self, uid: str) -> None:
        """The pod is gone: so is what it kept."""
        memory_disks.unmount_all(self._memory / uid)
        for folder in (self.disk, self._memory):
            shutil.rmtree(folder / uid, ignore_errors=True)

    def uids(self) -> set[str]:
        """The pods that something is kept of."""
        folders = [self.disk, self._memory]
        return {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()}

    def source(self, pod: Pod, volume: Volume) -> Path:
        """Where a volume is."""
        if volume.host_path is not None:
            return Path(volume.host_path.path)
        on_disk = volume.empty_dir is not None and volume.empty_dir.medium != "Memory"
        return (self.disk if on_disk else self._memory) / pod.uid / volume.name

    def _make(self, pod: Pod, volume: Volume) -> None:
        folder = self.source(pod, volume)
        if volume.host_path is not None:
            _check_host_path(volume.host_path)
            return
        group = pod.spec.security_context.fs_group
        if volume.empty_dir is not None:
            if not folder.exists():
                folder.mkdir(parents=True)
                size = int(quantities.parse(volume.empty_dir.size_limit or 0))
                if volume.empty_dir.medium == "Memory" and size > 0:
                    memory_disks.mount(folder, size)
                folder.chmod(0o777 if group is None else 0o2777)
                _give_to(folder, group)
            return
        folder.mkdir(parents=True, exist_ok=True)
        files, size = {}, 0
        for path, file in self._files(pod, volume):
            files[path] = file
            size += len(file.content)
            if size > FILES_LIMIT:
                raise VolumeError(f"its files have more than {FILES_LIMIT} bytes")
        write_files(folder, files, group)

    def _files(self, pod: Pod, volume: Volume) -> Iterator[tuple[str, _File]]:
        if volume.projected is not None:
            optional = is_token_volume(volume)
            for source in volume.projected.sources:
                yield from self._projected(pod, source, volume.projected.default_mode, optional)
        elif volume.downward_api is not None:
            yield from self._downward(pod, volume.downward_api, volume.downward_api.default_mode)
        elif volume.config_map is not None:
            of = volume.config_map
            yield from self._keys(pod, resource.CONFIGMAP, of.name, of.items, of.default_mode, of.optional)
        elif volume.secret is not None:
            found = volume.secret
            name = found.secret_name or found.name
            yield from self._keys(pod, resource.SECRET, name, found.items, found.default_mode, found.optional)

    def _projected(self, pod: Pod, source: Source, mode: int | None, optional: bool) -> Iterator[tuple[str, _File]]:
        if source.config_map is not None:
            of = source.config_map
            yield from self._keys(pod, resource.CONFIGMAP, of.name, of.items, mode, of.optional or optional)
        if source.secret is not None:
            found = source.secret
            name = found.name or found.secret_name
            yield from self._keys(pod, resource.SECRET, name, found.items, mode, found.optional or optional)
        if source.downward_api is not None:
            yield from self._downward(pod, source.downward_api, mode)

    def _keys(
        self, pod: Pod, type: str, name: str, items: tuple[KeyToPath, ...], mode: int | None, optional: bool
    ) -> Iterator[tuple[str, _File]]:
        files = files_of(Resource(pod.metadata.namespace, type, name), self._content)
        if files is None:
            if optional:
                return
            raise Missing(f'{type} "{name}" not found')
        default = FILE_MODE if mode is None else mode
        if not items:
            yield from ((key, _File(value, default)) for key, value in files.items())
        for item in items:
            if item.key in files:
                yield item.path, _File(files[item.key], default if item.mode is None else item.mode)
            elif not optional:
                raise Missing(f"references non-existent {type} key: {item.key}")

    def _downward(self, pod: Pod, of: DownwardFiles, mode: int | None) -> Iterator[tuple[str, _File]]:
        default = FILE_MODE if mode is None else mode
        for item in of.items:
            if item.field_ref is not None:
                text = field_of(pod, item.field_ref.field_path, self._facts)
            elif item.resource_field_ref is not None:
                text = resource_of(pod, pod.spec.containers[0], item.resource_field_ref, self._facts)
            else:
                continue
            yield item.path, _File(text.encode(), default if item.mode is None else item.mode)


def write_files(folder: Path, files: Mapping[str, _File], group: int | None = None) -> bool:
    """Have these files in a folder, all at once; whether anything was different. Raises OSError, VolumeError."""
    data = folder / "..data"
    for path in files:
        _below(folder, path)
    if data.is_symlink() and _present(data.resolve()) == {path: file.content for path, file in files.items()}:
        return False
    fresh = folder / time.strftime("..%Y_%m_%d_%H_%M_%S.") / str(time.time_ns())
    fresh = fresh.parent.with_name(fresh.parent.name + fresh.name)
    for path, (content, mode) in files.items():
        file = fresh / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode | (0o440 if group is not None else 0))
        _give_to(file, group)
    fresh.mkdir(exist_ok=True)
    before = data.resolve() if data.is_symlink() else None
    link = folder / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(data)
    roots = {PurePosixPath(path).parts[0] for path in files}
    for root in roots:
        if not (folder / root).is_symlink():
            (folder / root).symlink_to(PurePosixPath("..data") / root)
    for entry in folder.iterdir():
        if entry.is_symlink() and entry.name not in roots and entry.name != "..data":
            entry.unlink()
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _present(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _inside(folder: Path, path: Path) -> Path:
    """Where a path in a volume really is. Raises VolumeError when links, which containers can make, lead out of the volume."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise VolumeError(f"{path.name!r} cannot be followed: {error}") from error
    if not real.is_relative_to(folder.resolve()):
        raise VolumeError(f"{str(path.relative_to(folder))!r} leads out of the volume")
    return real


def _below(folder: Path, path: str) -> Path:
    """A path in a folder. Raises VolumeError for one that leads out of it."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or parts[0].startswith("..") or "\0" in path:
        raise VolumeError(f"path {path!r} must lead into the volume")
    return folder.joinpath(*parts)


def _make_own(folder: Path) -> None:
    """Have a folder that nobody else looks into. Raises VolumeError for one that another user made, as all may below /dev/shm."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise VolumeError(f"{folder} is not this gateway's own folder")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _why(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def _give_to(file: Path, group: int | None) -> None:
    if group is not None and os.geteuid() == 0:
        os.chown(file, -1, group)


def _check_host_path(host: HostPath) -> None:
    path = Path(host.path)
    if host.type == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif host.type == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    kind = _KINDS.get(host.type.removesuffix("OrCreate"))
    if not host.type:
        return
    if kind is None:
        raise VolumeError(f"hostPath has no type {host.type!r}")
    if not path.exists():
        raise VolumeError(f"hostPath type check failed: {host.path} does not exist")
    if not kind(path.stat().st_mode):
        raise VolumeError(f"hostPath type check failed: {host.path} is not a {host.type.removesuffix('OrCreate')}")
