"""The keeper: the parent of a gateway's containers, where they are plain processes. It outlives edgecore.

It starts processes, each in a session of its own, writes what they say to their log files in the format that a kubelet reads
(`<time> stdout F <line>`), and notes how they end. It is to plain processes what conmon is to Podman, but one for all, without
libraries. `FOLDER/socket` takes lines of JSON, from one edgecore at a time:

    {"do": "start", "id": ..., "argv": [...], "env": {...}, "cwd": ..., "log": ..., ...}  -> {"re": id, "pid": ..., "at": ...}
    {"do": "signal", "id": ..., "number": 15, "all": false}    {"do": "forget", "id": ...}    {"do": "end"}
    {"do": "list"} -> {"runs": [...], "speaks": ...}           <- {"exited": {"id": ..., "exit": {...}}}

`FOLDER/runs/<id>.json` says of each the process, when that was started by the kernel's clock, and how it ended: what edgecore
needs when the keeper itself has died. Without processes and without an edgecore it ends after a minute, and at once where it was
asked to `end`.
"""

import errno
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from edge_gateway.edged.keeper_log import CHUNK, LogFile, Stream

IDLE_S = 60.0
SPEAKS = 2
"""Which requests it understands: a keeper goes on across an update of edgecore, and leaves out what it does not know.
From 2 on it makes the `mounts` of what it starts, and ends when asked."""
REQUEST_LIMIT = 4 * 1024 * 1024
TICK_S = 5.0
NOT_FOUND, CANNOT = 127, 128


class Run:
    """One process, running or ended."""

    def __init__(self, id: str, pid: int, started: int, cgroup: str) -> None:
        self.id, self.pid, self.started, self.cgroup = id, pid, started, cgroup
        self.at = time.time()
        self.exit: dict[str, Any] | None = None
        self.streams: list[Stream] = []
        self.log: LogFile | None = None

    def told(self) -> dict[str, Any]:
        """As edgecore reads it."""
        return {
            "id": self.id,
            "pid": self.pid,
            "started": self.started,
            "boot": boot_id(),
            "at": self.at,
            "cgroup": self.cgroup,
            "exit": self.exit,
        }


class Keeper:
    """All processes of one gateway."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._runs: dict[str, Run] = {}
        self._by_pid: dict[int, Run] = {}
        self._selector = selectors.DefaultSelector()
        self._client: socket.socket | None = None
        self._request = b""
        self._lonely_since = time.monotonic()
        self._ending = False
        os.makedirs(os.path.join(folder, "runs"), exist_ok=True)
        self._listener = self._listen()
        self._signals = self._wake_on_children()

    def _listen(self) -> socket.socket:
        path = os.path.join(self._folder, "socket")
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.umask(0o177)
        listener.bind(path)
        os.umask(0o022)
        listener.listen(4)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        return listener

    def _wake_on_children(self) -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(reading, selectors.EVENT_READ, self._reap)
        return reading

    def serve(self) -> None:
        """Until nobody needs it."""
        while not self._useless():
            for key, _ in self._selector.select(TICK_S):
                key.data()

    def _useless(self) -> bool:
        if self._client is not None or self._by_pid:
            self._lonely_since = time.monotonic()
        if self._ending and not self._by_pid:
            return True
        return time.monotonic() - self._lonely_since > IDLE_S

    # edgecore

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self._part()
        self._ending = False
        client.setblocking(True)
        client.settimeout(10.0)
        self._client = client
        self._selector.register(client, selectors.EVENT_READ, self._hear)

    def _part(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None
            self._request = b""

    def _hear(self) -> None:
        assert self._client is not None
        try:
            chunk = self._client.recv(CHUNK)
        except OSError:
            chunk = b""
        if not chunk or len(self._request) > REQUEST_LIMIT:
            self._part()
            return
        *lines, self._request = (self._request + chunk).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _tell(self, content: dict[str, Any]) -> None:
        if self._client is None:
            return
        try:
            self._client.sendall(json.dumps(content).encode() + b"\n")
        except OSError:
            self._part()

    def _obey(self, asked: dict[str, Any]) -> None:
        do, id = asked["do"], asked.get("id", "")
        if do == "start":
            self._tell({"re": id, **self._start(asked)})
        elif do == "signal":
            self._signal(self._runs.get(id), asked["number"], asked["all"])
        elif do == "forget":
            run = self._runs.get(id)
            if run is None or run.exit is not None:
                self._runs.pop(id, None)
                with suppress(OSError):
                    os.unlink(self._file(id))
        elif do == "list":
            self._tell({"runs": [run.told() for run in self._runs.values()], "speaks": SPEAKS})
        elif do == "end":
            self._ending = True

    # Processes

    def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("mounts"):
            import edge_gateway.edged.keeper_mounts  # noqa: F401 - here once, where it is needed, and not in each child anew
        known = self._runs.get(asked["id"])
        if known is not None:
            return {"pid": known.pid, "at": known.at, "started": known.started}
        pipes: list[tuple[int, int]] = []
        try:
            for _ in range(3):
                pipes.append(os.pipe2(os.O_CLOEXEC))  # noqa: PERF401 - what was opened is closed below
            pid = os.fork()
        except OSError as error:  # nothing is left to be had: one container fails, and the others keep their parent
            for fd in (fd for pipe in pipes for fd in pipe):
                os.close(fd)
            return {"error": f"the machine has no room for a process: {error.strerror}", "code": CANNOT}
        out, err, (told, telling) = pipes
        if pid == 0:
            _become(asked, out[1], err[1], telling)
        for fd in (out[1], err[1], telling):
            os.close(fd)
        with os.fdopen(told, "rb") as pipe:
            failure = pipe.read()
        if failure:
            os.waitpid(pid, 0)
            for fd in (out[0], err[0]):
                os.close(fd)
            return json.loads(failure)  # type: ignore[no-any-return]
        run = Run(asked["id"], pid, started_ticks(pid), asked.get("cgroup", ""))
        run.log = LogFile(asked["log"], asked["log_bytes"])
        for fd, name in ((out[0], b"stdout"), (err[0], b"stderr")):
            os.set_blocking(fd, False)
            stream = Stream(fd, name, run.log)
            run.streams.append(stream)
            self._selector.register(fd, selectors.EVENT_READ, lambda s=stream: self._read(s))
        self._runs[run.id] = self._by_pid[pid] = run
        self._note(run)
        return {"pid": pid, "at": run.at, "started": run.started}

    def _signal(self, run: Run | None, number: int, everything: bool) -> None:
        if run is None or run.exit is not None:
            return
        if everything:
            kill_all(run.pid, run.cgroup, number)
        else:
            with suppress(ProcessLookupError):
                os.kill(run.pid, number)

    def _read(self, stream: Stream) -> None:
        if not stream.read():
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        if stream.fd >= 0:
            self._selector.unregister(stream.fd)
            os.close(stream.fd)
            stream.fd = -1

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._signals, 4096):
                pass
        while self._by_pid:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._by_pid.pop(pid, None)
            if run is not None:
                self._ended(run, status)

    def _ended(self, run: Run, status: int) -> None:
        """The container is over when its first process is: what that left behind goes too."""
        at = time.time()
        kill_all(run.pid, run.cgroup, signal.SIGKILL)
        for stream in run.streams:
            for _ in range(1024):  # what it still said, and no more: something may have escaped and go on talking
                before = stream.fd
                if before < 0 or not _readable(before):
                    break
                self._read(stream)
            self._close(stream)
        if run.log is not None:
            run.log.close()
        code = os.waitstatus_to_exitcode(status)
        run.exit = {"code": code if code >= 0 else 128 - code, "signal": -code if code < 0 else 0, "at": at}
        self._note(run)
        self._tell({"exited": run.told()})

    def _note(self, run: Run) -> None:
        path = self._file(run.id)
        with suppress(OSError):  # a full disk: edgecore knows it from us, as long as we live
            with open(path + ".new", "w") as file:
                json.dump(run.told(), file)
            os.replace(path + ".new", path)

    def _file(self, id: str) -> str:
        return os.path.join(self._folder, "runs", id.replace("/", "_") + ".json")


def _become(asked: dict[str, Any], out: int, err: int, telling: int) -> None:
    """In the child: become what was asked for, or say why not."""
    try:
        os.setsid()
        if asked.get("mounts"):
            _see(asked["mounts"], telling)
        if asked.get("cgroup"):
            with open(os.path.join(asked["cgroup"], "cgroup.procs"), "w") as procs:
                procs.write("0")
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, number in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(fd, number)
        for name, value in asked.get("limits", {}).items():
            resource.setrlimit(getattr(resource, name), (value, value))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(asked.get("cwd") or "/")
        os.execvpe(asked["argv"][0], asked["argv"], asked["env"])
    except OSError as error:
        missing = error.errno == errno.ENOENT
        why = f"exec: {asked['argv'][0]!r}: {error.strerror}" + (f": {error.filename}" if error.filename else "")
        os.write(telling, json.dumps({"error": why, "code": NOT_FOUND if missing else CANNOT}).encode())
    except ValueError as error:  # such as a zero byte, which no argument or variable can have
        os.write(telling, json.dumps({"error": f"exec: {error}", "code": CANNOT}).encode())
    finally:
        os._exit(CANNOT)


def _see(mounts: list[list[str]], telling: int) -> None:
    """In the child: have its mounts, or say why not."""
    from edge_gateway.edged.keeper_mounts import see

    try:
        see(mounts)
    except OSError as error:
        why = f"mount: {error.strerror}: {error.filename}"
        os.write(telling, json.dumps({"error": why, "code": CANNOT}).encode())
        os._exit(CANNOT)


def kill_all(pid: int, cgroup: str, number: int) -> None:
    """Send a signal to a container's whole process group; a kill to all of its cgroup, where it has one."""
    if cgroup and number == signal.SIGKILL:
        with suppress(OSError), open(os.path.join(cgroup, "cgroup.kill"), "w") as kill:
            kill.write("1")
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def started_ticks(pid: int) -> int:
    """When a process was started, in ticks since the machine was: with its number, that names it. 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def boot_id() -> str:
    """Which of the machine's starts this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _readable(fd: int) -> bool:
    poll = selectors.PollSelector()
    poll.register(fd, selectors.EVENT_READ)
    return bool(poll.select(0))


def main() -> None:
    """Keep, in the folder that the last argument names, as nobody's child: whoever started it may go."""
    if os.fork():
        os._exit(0)
    Keeper(sys.argv[-1]).serve()
