"""What podman is told of how far a pod is kept apart from the machine, and what of it it cannot do. A core."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edge_gateway.edged.isolation import (
    LOCALHOST,
    SAFE_SYSCTLS,
    UNCONFINED,
    Resolver,
    app_armor_of,
    merged,
    se_linux_of,
    seccomp_of,
)
from edge_gateway.edged.pods import Container, DnsConfig, Pod


def sandbox_options(pod: Pod, machine: Resolver) -> Iterator[str]:
    """For `podman pod create`: what a pod's containers share. `machine` is what the machine resolves names by."""
    spec = pod.spec
    shared = {"net": True, "ipc": not spec.host_ipc, "uts": True, "pid": spec.share_process_namespace}
    yield from ("--share", ",".join(name for name, is_shared in shared.items() if is_shared))
    if not spec.host_network:
        yield from _aliases(pod)
    for setting in spec.security_context.sysctls:
        yield from ("--sysctl", f"{setting.name.replace('/', '.')}={setting.value}")
    if spec.dns_policy == "None" or spec.dns_config != DnsConfig():
        told = merged(spec.dns_policy, spec.dns_config, machine)
        for word, values in (("--dns", told.nameservers), ("--dns-search", told.searches), ("--dns-opt", told.options)):
            for value in values:
                yield from (word, value)
        if not told.searches:
            yield from ("--dns-search", ".")  # Podman's word for none; without it, the machine's


def container_options(pod: Pod, container: Container, profiles: Path) -> Iterator[str]:
    """For `podman run`; `profiles` is the folder of seccomp's."""
    if pod.spec.host_network:  # where the sandbox has no /etc/hosts to share
        yield from _aliases(pod)
    if pod.spec.host_pid:
        yield from ("--pid", "host")
    if pod.spec.host_ipc:
        yield from ("--ipc", "host")
    seccomp = seccomp_of(pod, container)
    if seccomp is not None and seccomp.type == UNCONFINED:
        yield from ("--security-opt", "seccomp=unconfined")
    elif seccomp is not None and seccomp.type == LOCALHOST:
        yield from ("--security-opt", f"seccomp={profiles / seccomp.localhost_profile}")
    armor = app_armor_of(pod, container)
    if armor is not None and armor.type == UNCONFINED:
        yield from ("--security-opt", "apparmor=unconfined")
    elif armor is not None and armor.type == LOCALHOST:
        yield from ("--security-opt", f"apparmor={armor.localhost_profile}")
    label = se_linux_of(pod, container)
    if label is not None:
        parts = {"user": label.user, "role": label.role, "type": label.type, "level": label.level}
        for name, value in parts.items():
            if value:
                yield from ("--security-opt", f"label={name}:{value}")


def _aliases(pod: Pod) -> Iterator[str]:
    for alias in pod.spec.host_aliases:
        for name in alias.hostnames:
            yield from ("--add-host", f"{name}:{alias.ip}")


def refusals(pod: Pod, *, app_armor: bool) -> Iterator[str]:
    """What a pod asks for that Podman does not give; `app_armor` says whether the machine's kernel has AppArmor on."""
    spec = pod.spec
    yield from _sysctl_refusals(pod)
    if not spec.host_users:
        yield "spec.hostUsers: containers of this node have the machine's users"
    if spec.share_process_namespace and spec.host_pid:
        yield "spec.shareProcessNamespace and hostPID: only one of them is possible"
    if spec.security_context.supplemental_groups_policy != "Merge":
        yield "spec.securityContext.supplementalGroupsPolicy: only Merge is possible here"
    for container in (*spec.init_containers, *spec.containers):
        where = f"container {container.name!r}:"
        if container.security_context.proc_mount not in ("", "Default"):
            yield f"{where} procMount {container.security_context.proc_mount}: only Default is possible here"
        seccomp, armor = seccomp_of(pod, container), app_armor_of(pod, container)
        if seccomp is not None and seccomp.type == LOCALHOST and not _is_below(seccomp.localhost_profile):
            yield f"{where} seccompProfile: a localhostProfile is a path below the folder of profiles"
        if armor is not None and armor.type != UNCONFINED and not app_armor:
            yield f"{where} appArmorProfile {armor.type}: AppArmor is not enabled on this machine"


def _sysctl_refusals(pod: Pod) -> Iterator[str]:
    """Kubelet's rules (pkg/kubelet/sysctl)."""
    for setting in pod.spec.security_context.sysctls:
        name = setting.name.replace("/", ".")
        if name not in SAFE_SYSCTLS:
            yield f"spec.securityContext.sysctls: {setting.name!r} is none of those that a pod may set"
        elif name.startswith("net.") and pod.spec.host_network:
            yield f"spec.securityContext.sysctls: {setting.name!r} is the machine's with hostNetwork"
        elif name.startswith("kernel.shm") and pod.spec.host_ipc:
            yield f"spec.securityContext.sysctls: {setting.name!r} is the machine's with hostIPC"


def _is_below(path: str) -> bool:
    parsed = PurePosixPath(path)
    return bool(path) and not parsed.is_absolute() and ".." not in parsed.parts
