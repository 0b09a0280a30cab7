"""Commands in pods of a gateway, through the whole stack, with kubectl as their user: input, output, exit codes, terminals."""

import asyncio
import fcntl
import os
import pty
import struct
import termios

import pytest

from hil_tests.conftest import NODE
from hil_tests.test_pods import DEADLINE_S, WAITS, Gateway, any_runtime, gateway, pod

__all__ = ["gateway"]


async def run(gateway: Gateway, *arguments: str, give: bytes = b"") -> tuple[int | None, bytes, bytes]:
    """`kubectl exec`: exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--kubeconfig", str(gateway.stack.kubeconfig), "exec", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(give)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out, err


SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
"""What has kubectl speak as it did before 1.31; one that is older does so anyway."""


@pytest.fixture
def spdy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SPDY.items():
        monkeypatch.setenv(name, value)


@any_runtime
async def test_a_command_runs_in_a_pod_and_its_words_and_exit_code_come_back(gateway: Gateway) -> None:
    env = [{"name": "LEVEL", "value": "info"}]
    await gateway.apply(pod("web", WAITS, container={"env": env}))
    await gateway.wait_ready("web")
    assert await run(gateway, "web", "--", "sh", "-c", "echo $LEVEL") == (0, b"info\n", b"")
    code, out, err = await run(gateway, "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (code, out) == (3, b"out\n")
    assert err.startswith(b"err\n")
    content = bytes(range(256)) * 1000
    assert await run(gateway, "-i", "web", "--", "cat", give=content) == (0, content, b"")
    code, out, err = await run(gateway, "web", "--", "/no/such/command")
    assert (code, out) == (127, b"")
    assert b"/no/such/command" in err


async def test_a_command_that_cannot_be_had_says_why(gateway: Gateway) -> None:
    level = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "level"}}}
    await gateway.apply(pod("web", WAITS), pod("waits", WAITS, container={"env": [level]}))
    await gateway.wait_ready("web")

    async def cannot_be_made() -> bool:
        states = [of["state"] for of in (await gateway.get("pod", "waits"))["status"].get("containerStatuses", ())]
        return [state.get("waiting", {}).get("reason") for state in states] == ["CreateContainerConfigError"]

    await gateway.until(cannot_be_made, "the container waits")
    code, _, err = await run(gateway, "waits", "--", "true")
    assert code == 1, err
    assert b"does not run" in err, err
    await gateway.stack.edgecore.kill()

    async def away() -> bool:
        _, _, err = await run(gateway, "web", "--", "true")
        return f"node {NODE} is not connected".encode() in err

    await gateway.until(away, "it says that the node is away")


async def test_who_attaches_hears_a_pod_until_it_ends(gateway: Gateway) -> None:
    flag = gateway.folder / "flag"
    script = f"while [ ! -e {flag} ]; do echo tick; sleep 0.1; done; echo over"
    await gateway.apply(pod("web", script, restartPolicy="Never"))
    await gateway.wait_ready("web")
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--kubeconfig", str(gateway.stack.kubeconfig), "attach", "web"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stdout.readline() == b"tick\n"
            await asyncio.to_thread(flag.touch)
            rest, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert rest.splitlines()[-1] == b"over", (rest, err)
    assert process.returncode == 0, err


@pytest.mark.usefixtures("spdy")
async def test_a_command_runs_over_spdy_as_it_does_over_websockets(gateway: Gateway) -> None:
    await gateway.apply(pod("web", WAITS))
    await gateway.wait_ready("web")
    code, out, err = await run(gateway, "-v=7", "web", "--", "echo", "said")
    assert (code, out) == (0, b"said\n")
    assert b"X-Stream-Protocol-Version: v4.channel.k8s.io" in err, "it does not speak SPDY"
    code, out, err = await run(gateway, "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (code, out) == (3, b"out\n")
    assert err.startswith(b"err\n")
    content = os.urandom(1_000_000)
    assert await run(gateway, "-i", "web", "--", "cat", give=content) == (0, content, b"")
    # More than anything holds on the way, given to a command that reads none of it.
    code, out, _ = await run(gateway, "-i", "web", "--", "echo", "over", give=bytes(4_000_000))
    assert (code, out) == (0, b"over\n")
    await a_terminal_has_the_size_of_its_users(gateway)


async def a_terminal_has_the_size_of_its_users(gateway: Gateway) -> None:
    script = (
        'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo it fits; read word; echo "heard $word"; exit 4'
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--kubeconfig", str(gateway.stack.kubeconfig), "exec", "-it", "web", "--", "sh", "-c", script),
        stdin=theirs,
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    try:
        async with asyncio.timeout(DEADLINE_S):
            said = b""
            while b"it fits" not in said:
                said += await asyncio.to_thread(os.read, ours, 1000)
            os.write(ours, b"word\r")
            while b"heard word" not in said:
                said += await asyncio.to_thread(os.read, ours, 1000)
            assert await process.wait() == 4
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
