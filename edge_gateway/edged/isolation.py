"""How far a pod's containers are kept apart from the machine: what a pod and its containers say of it together. A core."""

from collections.abc import Iterator
from typing import NamedTuple

from edge_gateway.edged.pods import Container, DnsConfig, Pod, Profile, SELinuxOptions

UNCONFINED, RUNTIME_DEFAULT, LOCALHOST = "Unconfined", "RuntimeDefault", "Localhost"
SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
"""Settings that each pod has of its own and that harm no other (kubelet's safe set)."""


def seccomp_of(pod: Pod, container: Container) -> Profile | None:
    """The profile of a container's system calls; its own word counts more than the pod's."""
    return container.security_context.seccomp_profile or pod.spec.security_context.seccomp_profile


def app_armor_of(pod: Pod, container: Container) -> Profile | None:
    """Its profile of AppArmor, likewise."""
    return container.security_context.app_armor_profile or pod.spec.security_context.app_armor_profile


def se_linux_of(pod: Pod, container: Container) -> SELinuxOptions | None:
    """Its label of SELinux, likewise."""
    return container.security_context.se_linux_options or pod.spec.security_context.se_linux_options


class Resolver(NamedTuple):
    """What the machine's resolv.conf says."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


NO_RESOLVER = Resolver()


def resolver(resolv_conf: str) -> Resolver:
    """Read a resolv.conf (resolv.conf(5)); the last `search` counts, and options add up."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in resolv_conf.splitlines():
        key, *values = line.split("#")[0].split() or [""]
        if key == "nameserver":
            servers += values[:1]
        elif key in ("search", "domain"):
            searches = values
        elif key == "options":
            options += values
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def merged(policy: str, own: DnsConfig, machine: Resolver) -> Resolver:
    """What a pod's resolv.conf shall say where it has a `dnsConfig`: that, after what the machine's says but for policy None.

    Kubelet's rules: three name servers at most, and of an option that both have the pod's.
    """
    base = NO_RESOLVER if policy == "None" else machine
    options = {option.partition(":")[0]: option for option in base.options}
    options |= {one.name: f"{one.name}:{one.value}" if one.value else one.name for one in own.options}
    servers = dict.fromkeys((*base.nameservers, *own.nameservers))
    searches = dict.fromkeys((*base.searches, *own.searches))
    return Resolver(tuple(servers)[:3], tuple(searches), tuple(options.values()))


def process_refusals(pod: Pod) -> Iterator[str]:
    """What plain processes cannot have: they see the machine's files, names and settings, and no profile is laid on them."""
    spec = pod.spec
    if spec.security_context.sysctls:
        yield "spec.securityContext.sysctls: plain processes have the machine's kernel settings"
    if spec.host_aliases:
        yield "spec.hostAliases: plain processes have the machine's /etc/hosts"
    if spec.dns_policy == "None" or spec.dns_config != DnsConfig():
        yield "spec.dnsConfig: plain processes have the machine's resolv.conf"
    if not spec.host_users:
        yield "spec.hostUsers: plain processes have the machine's users"
    for container in (*spec.init_containers, *spec.containers):
        where = f"container {container.name!r}:"
        profiles = {"seccompProfile": seccomp_of(pod, container), "appArmorProfile": app_armor_of(pod, container)}
        for name, profile in profiles.items():
            # RuntimeDefault is what the runtime has by itself, and many clusters demand it: of plain processes that is nothing.
            if profile is not None and profile.type == LOCALHOST:
                yield f"{where} {name} {profile.type}: plain processes have none"
        if se_linux_of(pod, container) is not None:
            yield f"{where} seLinuxOptions: plain processes have edgecore's label"
