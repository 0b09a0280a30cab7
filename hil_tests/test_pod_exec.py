"""Commands in pods of a gateway, through the whole stack, with kubectl as their user: input, output, exit codes, terminals."""

import asyncio

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
    reason = "{.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    await gateway.kubectl("wait", "pod/waits", f"--for=jsonpath={reason}", f"--timeout={DEADLINE_S:.0f}s")
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
