"""Podman as the runtime: what real nodes have. A pod is a podman pod, a run one container of it.

Nothing of Podman runs while nothing changes, but for conmon, the small parent of each container. That a container has ended
is seen by the end of its conmon, which a file descriptor of that process tells the event loop; podman is asked only then. Labels
say which run a container is: what an edgecore before this one started is found by them, and conmon keeps it running meanwhile.

After the machine was restarted nothing runs, and Podman does not know how anything ended; which of the machine's starts a
container belongs to is one of its labels.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from edge_gateway.edged.container_life import UNKNOWN, UNKNOWN_CODE
from edge_gateway.edged.podman_cli import Inspected, Podman, PodmanError, base_environment, is_gone
from edge_gateway.edged.podman_images import Images
from edge_gateway.edged.podman_sandboxes import Sandboxes
from edge_gateway.edged.podman_session import PodmanSession, kill_container, kill_marked, new_mark
from edge_gateway.edged.podman_start import Notes, Started
from edge_gateway.edged.podman_words import BOOT, RUN, STARTED, Names, refusals, run
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.process_session import ProcessSession
from edge_gateway.edged.runtime import CannotStart, Exit, Processes, RunId, Running, RuntimeTrouble, StartOrder
from edge_gateway.kernel_files import text

log = logging.getLogger(__name__)

SETTLE_S = 10.0
"""For podman to know how a container ended once its conmon is gone."""
EXEC_BEGIN_S = 2.0
"""What podman itself may take before a command beside a container runs, on a machine that is busy."""
QUIETLY = ("--log-level", "error")
"""What podman warns of would be taken for what the command says."""
OUTPUT_BYTES = 10 * 1024
"""Of what a command beside a container says, at most (kubelet's figure for probes)."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_APP_ARMOR = Path("/sys/module/apparmor/parameters/enabled")
_ALIVE = ("running", "paused", "stopping")
_NEVER_STARTED = ("created", "configured", "initialized")
_REFUSED = (125, 126, 127, 255)
"""Codes of `podman exec` that are its own, where it says why."""


class PodmanRuntime:
    """A `runtime.Runtime`."""

    name = "podman"

    def __init__(self, own: str, podman: Podman, images: Images, profiles: Path, proc: Path = Path("/proc")) -> None:
        """`own` tells gateways of one machine apart; `profiles` is the folder of seccomp's."""
        self._names = Names(own)
        self._podman = podman
        self._sandboxes = Sandboxes(podman, self._names)
        self._images = images
        self._profiles = profiles
        self._proc = proc
        self._boot = text(_BOOT_ID)
        self._exited: Callable[[RunId, Exit], None] = lambda id, exit: None
        self._alive: dict[RunId, float] = {}
        self._watched: dict[RunId, int] = {}
        self._processes: dict[RunId, Processes] = {}
        """Of those that are watched."""
        self._killed: set[RunId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._left: set[str] | None = None
        """Containers that podman did not remove; None before it was looked for sandboxes that were left."""

    def refusals(self, pod: Pod) -> list[str]:
        """What a pod asks for that Podman cannot give."""
        return refusals(pod, app_armor=text(_APP_ARMOR).startswith("Y"))

    # What was there before

    async def open(self, exited: Callable[[RunId, Exit], None]) -> list[Running]:
        """Find every run of this gateway. Raises RuntimeTrouble."""
        self._exited = exited
        runs, never_ran = [], set()
        for container in await self._sandboxes.open():
            try:
                id = RunId.parse(container.labels.get(RUN, ""))
            except ValueError:
                continue
            run = await self._take_up(id, container)
            if run is not None:
                runs.append(run)
            else:
                never_ran.add(id)
        dropped = await self._sandboxes.remove_fallen(keep={run.id.uid for run in runs})
        await self._drop(*(id for id in never_ran if id.uid not in dropped))
        self._is_open = True
        return runs

    async def _take_up(self, id: RunId, container: Inspected) -> Running | None:
        """A container of before; None when it never ran, as far as Podman knows."""
        lost = container.state.status not in _ALIVE and not _seconds(container.state.finished_at)
        if lost and container.labels.get(BOOT) == self._boot:
            # Podman has lost its notes, and not because the machine was restarted: it may run all the same.
            await asyncio.to_thread(kill_container, container.id, self._proc)
        if container.state.status in _NEVER_STARTED:
            log.info("= container never started and is dropped run=%s", id)
            return None
        at = _started_at(container)
        if container.state.status in _ALIVE and container.labels.get(BOOT) == self._boot:
            if self._watch(id, _started(container)):
                self._alive[id] = at
                return Running(id, at)
            return Running(id, at, await self._settled(id))
        return Running(id, at, self._exit(id, container))

    # Ends

    def _watch(self, id: RunId, run: Started) -> bool:
        """Hear of the end of a run; whether it has a conmon that can be watched."""
        try:
            ends = os.pidfd_open(run.conmon)
        except (OSError, OverflowError):
            return False
        # Its number may be another's by now, had it ended before the file was opened.
        if run.container.encode() not in self._command_line(run.conmon):
            os.close(ends)
            return False
        self._watched[id] = ends
        self._processes[id] = Processes(run.pid, run.container)
        asyncio.get_running_loop().add_reader(ends, self._conmon_ended, id)
        return True

    def _command_line(self, pid: int) -> bytes:
        try:
            return (self._proc / str(pid) / "cmdline").read_bytes()
        except OSError:
            return b""

    def _unwatch(self, id: RunId) -> None:
        self._processes.pop(id, None)
        ends = self._watched.pop(id, None)
        if ends is not None:
            asyncio.get_running_loop().remove_reader(ends)
            os.close(ends)

    def _conmon_ended(self, id: RunId) -> None:
        self._unwatch(id)
        self._do_settle(id)

    def _do_settle(self, id: RunId) -> None:
        task = asyncio.create_task(self._settle(id), name=f"edged-end-{id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, id: RunId) -> None:
        exit = await self._settled(id)
        self._alive.pop(id, None)
        self._exited(id, exit)

    async def _settled(self, id: RunId) -> Exit:
        """How a run without a conmon ended: podman notes it in a moment, unless conmon itself was killed."""
        deadline = time.monotonic() + SETTLE_S
        pause_s = 0.02
        while time.monotonic() < deadline:
            try:
                [container] = await self._podman.inspect(self._names.container(id))
            except RuntimeTrouble as trouble:
                if is_gone(trouble):
                    return Exit(UNKNOWN_CODE, time.time(), UNKNOWN, "somebody removed it")
            else:
                if container.state.status not in _ALIVE:
                    return self._exit(id, container)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
        log.warning("= container without conmon is ended run=%s", id)
        await self._drop(id)
        return Exit(UNKNOWN_CODE, time.time(), UNKNOWN, "conmon, its parent, is gone")

    def _exit(self, id: RunId, container: Inspected) -> Exit:
        state = container.state
        ended, started = _seconds(state.finished_at), _seconds(state.started_at) or time.time()
        if not ended:
            return Exit(UNKNOWN_CODE, started, UNKNOWN, "it ended while nobody looked")
        # Nobody in a container can kill its first process; where conmon missed what the kernel did, this tells.
        by_kernel = state.exit_code == 128 + signal.SIGKILL and container.host_config.memory and id not in self._killed
        return Exit(state.exit_code, ended, "OOMKilled" if state.oom_killed or by_kernel else "")

    # Pods

    async def prepare(self, pod: Pod) -> None:
        """Make a pod's sandbox, unless it is there and whole. Raises RuntimeTrouble."""
        await self._sandboxes.prepare(pod)

    def address(self, uid: str) -> str:
        """A pod's own address; empty on the machine's network."""
        return self._sandboxes.address(uid)

    async def network(self, pod: Pod) -> str:
        """The file of a pod's network; empty for the machine's. Raises RuntimeTrouble."""
        return self._sandboxes.network(pod)

    async def remove(self, uid: str) -> None:
        """Drop a pod and what is left in it. Raises RuntimeTrouble."""
        await self._sandboxes.remove(uid)

    # Runs

    async def start(self, order: StartOrder) -> float:
        """Start a run: when. Raises CannotStart, NotYet, RuntimeTrouble."""
        id = order.id
        if id in self._alive:
            return self._alive[id]
        image = await self._images.ready(order)
        if id.uid not in self._sandboxes:
            await self.prepare(order.pod)
        order.log.parent.mkdir(parents=True, exist_ok=True)
        devices = {str(m.source) for m in order.mounts if m.source.is_char_device() or m.source.is_block_device()}
        notes = Notes(self._podman.place(), self._names.container(id))
        at = time.time()
        more = (*notes.options(), "--label", f"{STARTED}={at!r}")
        words, env = run(order, self._names, image, self._boot, devices, self._profiles, more)
        try:
            printed = await self._podman(*words, env=env)
            started = notes.read(printed.strip())
        except PodmanError as error:
            started = await self._did_not_start(order, error)
        finally:
            notes.remove()
        self._alive[id] = at
        if not self._watch(id, started):
            self._do_settle(id)
        return at

    async def _did_not_start(self, order: StartOrder, error: PodmanError) -> Started:
        """Clear up behind a start; what runs where it does after all. Raises CannotStart, RuntimeTrouble."""
        if "already in use" in str(error):
            # An edgecore that was killed had just asked for it.
            [container] = await self._podman.inspect(self._names.container(order.id))
            if container.state.status in _ALIVE:
                return _started(container)
        await self._drop(order.id)
        if is_gone(error):
            self._sandboxes.fell(order.id.uid)
        if error.code in (126, 127):
            raise CannotStart(str(error), error.code) from error
        raise error

    async def signal(self, id: RunId, number: int, *, everything: bool = False) -> None:
        """Send a signal to a run's first process, with which all of it ends. Raises RuntimeTrouble."""
        if number == signal.SIGKILL:
            self._killed.add(id)
        try:
            await self._podman("kill", "--signal", str(number), self._names.container(id))
        except PodmanError as error:
            if not is_gone(error) and "can only kill running" not in str(error):
                raise

    async def exec(self, order: StartOrder, command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
        """Run a command in a run's container: exit code and output. Raises TimeoutError, CannotStart, RuntimeTrouble."""
        mark = new_mark()
        words = (*QUIETLY, "exec", "--env", mark, self._names.container(order.id), *command)
        process = await self._podman.process(*words, env={}, stderr=asyncio.subprocess.STDOUT)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s + EXEC_BEGIN_S):
                output = b""
                while chunk := await process.stdout.read(OUTPUT_BYTES):
                    output = (output + chunk)[:OUTPUT_BYTES]
                code = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.to_thread(kill_marked, mark, self._proc)
                with suppress(ProcessLookupError):
                    process.kill()
        if code in _REFUSED and output.startswith(b"Error: "):
            raise CannotStart(f"exec: {output.decode(errors='replace').strip().removeprefix('Error: ')}", code)
        return code, output

    async def talk(self, order: StartOrder, command: tuple[str, ...], *, stdin: bool, tty: bool) -> PodmanSession:
        """Run a command in a run's container, for somebody to talk to. Raises CannotStart, RuntimeTrouble."""
        mark = new_mark()
        options = [*(["--interactive"] if stdin else []), *(["--tty"] if tty else []), "--env", mark]
        argv = ["podman", *QUIETLY, "exec", *options, self._names.container(order.id), *command]
        env, folder = base_environment(), str(self._podman.place())
        return PodmanSession(await ProcessSession.start(argv, env, folder, stdin=stdin, tty=tty), mark)

    def processes(self) -> dict[RunId, Processes]:
        """The processes of each run that goes on."""
        return self._processes

    async def forget(self, id: RunId) -> None:
        """Drop the container of a run that has ended."""
        self._killed.discard(id)
        if id not in self._alive:
            await self._drop(id)

    async def _drop(self, *ids: RunId) -> None:
        names = [self._names.container(id) for id in ids]
        try:
            if names:
                await self._podman("rm", "--force", "--ignore", "--time", "0", *names)
        except RuntimeTrouble as trouble:
            log.warning("= containers are left runs=%s reason=%s", ",".join(map(str, ids)), trouble)
            if self._left is not None:
                self._left.update(names)

    async def collect(self, uids: Collection[str], over: Collection[str]) -> None:
        """Remove what is left of containers, once sandboxes of other pods than these, and those of pods that are over.

        Raises RuntimeTrouble.
        """
        if not self._is_open:
            return  # nor are the pods known yet
        if self._left is None:
            self._left = set()
            await self._sandboxes.remove_others({*uids, *(id.uid for id in self._alive)})
        for uid in over:
            await self._sandboxes.release(uid)
        for name in sorted(self._left):
            await self._podman("rm", "--force", "--ignore", "--time", "0", name)
            self._left.discard(name)

    async def close(self, *, for_good: bool = False) -> None:
        """Leave everything running."""
        for id in list(self._watched):
            self._unwatch(id)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _started(container: Inspected) -> Started:
    return Started(container.id, container.state.conmon_pid, container.state.pid)


def _started_at(container: Inspected) -> float:
    """When a run was started, as it was told then: a pod's status stays the same over edgecore's restart."""
    try:
        return float(container.labels[STARTED])
    except (KeyError, ValueError):
        return _seconds(container.state.started_at) or time.time()


def _seconds(time: str) -> float:
    """Seconds since 1970 of a time as podman writes it; 0 for what has not been."""
    try:
        return max(0.0, datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0.0
