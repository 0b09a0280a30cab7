"""Whom a plain process runs as, and what it may do as such: from a container's and its pod's security context."""

import os
import pwd
from pathlib import Path

from edge_gateway.edged.pods import Container, Pod, PodError


def user_of(pod: Pod, container: Container) -> int | None:
    """The user a container asks for; the container's word counts more than the pod's. None: edgecore's."""
    own = container.security_context.run_as_user
    return pod.spec.security_context.run_as_user if own is None else own


def group_of(pod: Pod, container: Container) -> int | None:
    """The group likewise; without one, that of the user, or 0 of a user that the machine does not know."""
    own = container.security_context.run_as_group
    group = pod.spec.security_context.run_as_group if own is None else own
    user = user_of(pod, container)
    if group is not None or user is None:
        return group
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return 0


def home_of(user: int | None) -> str:
    """A user's home; `/` of one that the machine does not know."""
    try:
        return pwd.getpwuid(os.geteuid() if user is None else user).pw_dir
    except KeyError:
        return "/"


def must_not_be_root(pod: Pod, container: Container) -> bool:
    """Whether runAsNonRoot holds."""
    own = container.security_context.run_as_non_root
    return bool(pod.spec.security_context.run_as_non_root if own is None else own)


def to_mount(pod: Pod, container: Container) -> list[str]:
    """The paths at which a container's volumes have to be mounted: all but host paths that stay where they are."""
    try:
        volumes = {volume.name: volume for volume in pod.volumes()}
    except PodError:
        return []
    found = []
    for mount in container.volume_mounts:
        volume = volumes.get(mount.name)
        host = volume.host_path if volume is not None else None
        if host is None or Path(host.path) / mount.sub_path != Path(mount.mount_path):
            found.append(mount.mount_path)
    return found


def becoming(user: int | None, group: int | None, groups: list[int]) -> list[str]:
    """The command before a command that makes another user of root (util-linux' setpriv); empty when it stays root."""
    if user is None and group is None and not groups:
        return []
    words = ["setpriv"]
    if user is not None:
        words.append(f"--reuid={user}")
    if group is not None:
        words.append(f"--regid={group}")
    return [*words, f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"]


def drops(container: Container) -> list[str]:
    """The command before a command that drops capabilities, and the way to get others; empty when nothing is dropped."""
    security = container.security_context
    words = []
    names = [name.upper().removeprefix("CAP_") for name in security.capabilities.drop]
    if names:
        dropped = "-all" if "ALL" in names else ",".join(f"-{name.lower()}" for name in names)
        words += [f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    if not security.allow_privilege_escalation:
        words.append("--no-new-privs")
    return ["setpriv", *words] if words else []
