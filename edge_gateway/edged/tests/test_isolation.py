"""What of a pod's isolation podman is told, and what each runtime refuses."""

from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.isolation import Resolver, merged, process_refusals, resolver
from edge_gateway.edged.podman_isolation import container_options, refusals, sandbox_options
from edge_gateway.edged.pods import DnsConfig, DnsOption
from edge_gateway.edged.tests.bench import a_container, a_pod

MACHINE = Resolver(("192.168.1.1",), ("site.example",), ("ndots:1",))
PROFILES = Path("/profiles")


def sandbox(**spec: Any) -> list[str]:
    return list(sandbox_options(a_pod(**spec), MACHINE))


def container(spec: dict[str, Any] | None = None, **security: Any) -> list[str]:
    pod = a_pod(a_container(securityContext=security), **(spec or {}))
    return list(container_options(pod, pod.spec.containers[0], PROFILES))


def test_an_ordinary_pod_has_podmans_defaults() -> None:
    assert sandbox() == ["--share", "net,ipc,uts"]
    assert container() == []


def test_what_is_shared_with_the_machine_and_among_the_containers() -> None:
    assert sandbox(shareProcessNamespace=True)[1] == "net,ipc,uts,pid"
    assert sandbox(hostIPC=True)[1] == "net,uts"
    assert container({"hostIPC": True, "hostPID": True}) == ["--pid", "host", "--ipc", "host"]


def test_names_of_hosts_and_settings_of_the_kernel() -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["plc", "plc.site"]}]
    sysctls = [{"name": "net/ipv4/tcp_syncookies", "value": "0"}]
    assert sandbox(hostAliases=aliases, securityContext={"sysctls": sysctls})[2:] == [
        *("--add-host", "plc:10.1.2.3", "--add-host", "plc.site:10.1.2.3"),
        *("--sysctl", "net.ipv4.tcp_syncookies=0"),
    ]


def test_a_pod_adds_to_how_names_are_resolved_or_says_all_of_it() -> None:
    own = {"nameservers": ["10.0.0.1"], "options": [{"name": "ndots", "value": "5"}]}
    assert sandbox(dnsConfig=own)[2:] == [
        *("--dns", "192.168.1.1", "--dns", "10.0.0.1", "--dns-search", "site.example", "--dns-opt", "ndots:5"),
    ]
    assert sandbox(dnsConfig=own, dnsPolicy="None")[2:] == [
        *("--dns", "10.0.0.1", "--dns-opt", "ndots:5", "--dns-search", "."),
    ]


def test_a_resolv_conf_is_read_and_has_three_name_servers_at_most() -> None:
    read = resolver(
        "# by hand\nsearch a\nnameserver 10.0.0.1 # one\nsearch b c\noptions ndots:2 edns0\nnameserver ::1\n"
    )
    assert read == Resolver(("10.0.0.1", "::1"), ("b", "c"), ("ndots:2", "edns0"))
    own = DnsConfig(("10.0.0.2", "10.0.0.3"), ("d",), (DnsOption("edns0"),))
    assert merged("Default", own, read) == Resolver(
        ("10.0.0.1", "::1", "10.0.0.2"), ("b", "c", "d"), ("ndots:2", "edns0")
    )


@pytest.mark.parametrize(
    ("profiles", "options"),
    [
        ({"seccompProfile": {"type": "RuntimeDefault"}}, []),
        ({"seccompProfile": {"type": "Unconfined"}}, ["seccomp=unconfined"]),
        ({"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}}, ["seccomp=/profiles/a/b.json"]),
        ({"appArmorProfile": {"type": "Unconfined"}}, ["apparmor=unconfined"]),
        ({"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}, ["apparmor=mine"]),
        ({"seLinuxOptions": {"type": "spc_t", "level": "s0"}}, ["label=type:spc_t", "label=level:s0"]),
    ],
)
def test_profiles_of_a_pod_and_of_a_container(profiles: dict[str, Any], options: list[str]) -> None:
    expected = [word for option in options for word in ("--security-opt", option)]
    assert container(**profiles) == expected
    assert container({"securityContext": profiles}) == expected
    other = {name: {"type": "RuntimeDefault"} for name in profiles if name != "seLinuxOptions"}
    if other:
        assert container({"securityContext": profiles}, **other) == []


@pytest.mark.parametrize(
    ("spec", "security", "why"),
    [
        ({"securityContext": {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}}, {}, "none of those"),
        (
            {"hostNetwork": True, "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}},
            {},
            "is the machine's with hostNetwork",
        ),
        ({"hostUsers": False}, {}, "hostUsers"),
        ({"hostPID": True, "shareProcessNamespace": True}, {}, "only one of them"),
        ({"securityContext": {"supplementalGroupsPolicy": "Strict"}}, {}, "supplementalGroupsPolicy"),
        ({}, {"procMount": "Unmasked"}, "procMount"),
        ({}, {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}, "below the folder"),
        ({}, {"seccompProfile": {"type": "Localhost"}}, "below the folder"),
        ({}, {"appArmorProfile": {"type": "RuntimeDefault"}}, "AppArmor is not enabled"),
    ],
)
def test_what_podman_does_not_give_is_named(spec: dict[str, Any], security: dict[str, Any], why: str) -> None:
    [said] = refusals(a_pod(a_container(securityContext=security), **spec), app_armor=False)
    assert why in said


def test_profiles_of_app_armor_are_given_where_the_kernel_has_it() -> None:
    pod = a_pod(a_container(securityContext={"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}))
    assert list(refusals(pod, app_armor=True)) == []


def test_plain_processes_refuse_what_needs_files_or_profiles_of_their_own() -> None:
    given = {"shareProcessNamespace": True, "hostPID": True, "hostIPC": True, "dnsPolicy": "Default"}
    for type in ("Unconfined", "RuntimeDefault"):
        nothing = {"seccompProfile": {"type": type}}
        assert list(process_refusals(a_pod(a_container(securityContext=nothing), **given))) == []
    refused = {
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["plc"]}],
        "dnsPolicy": "None",
        "hostUsers": False,
        "securityContext": {
            "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
            "seccompProfile": {"type": "Localhost", "localhostProfile": "mine.json"},
            "seLinuxOptions": {"type": "spc_t"},
        },
    }
    assert len(list(process_refusals(a_pod(**refused)))) == 6
