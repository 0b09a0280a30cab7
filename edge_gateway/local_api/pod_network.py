"""Where containers with a network of their own find the gateway: its address on Podman's bridge, which they know by name."""

import logging
import os
import subprocess

import msgspec
from msgspec import Struct

from edge_gateway.edged.podman_cli import base_environment

log = logging.getLogger(__name__)

NETWORK = "podman"
"""Podman's own one, on which its pods are."""
_DEADLINE_S = 60.0


class _Subnet(Struct):
    gateway: str = ""


class _Network(Struct):
    driver: str = ""
    subnets: list[_Subnet] = []


def gateway() -> str:
    """The address; empty where there is none that this machine can listen on, as for Podman without root."""
    if os.geteuid() != 0:
        return ""
    try:
        done = subprocess.run(
            ["podman", "network", "inspect", NETWORK],
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=True,
        )
        [network] = msgspec.json.decode(done.stdout, type=list[_Network])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, ValueError) as error:
        log.warning("= Podman's network is not known, its pods do not reach the local API reason=%s", error)
        return ""
    found = (subnet.gateway for subnet in network.subnets if "." in subnet.gateway and network.driver == "bridge")
    return next(found, "")
