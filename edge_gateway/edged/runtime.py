"""What runs containers, as Edged sees it: plain processes (`process.py`), or Podman.

A run is one attempt at one container of one pod, and is called `<uid>/<container>/<attempt>` everywhere. A runtime keeps what it
runs while edgecore is away, and says afterwards what still runs and how the rest ended.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_gateway.edged import EdgedError
from edge_gateway.edged.pods import Container, Pod


class RuntimeTrouble(EdgedError):
    """The runtime does not work now; the same may work later."""


class CannotStart(EdgedError):
    """A container that cannot be started as it is: its command does not exist, or may not be run."""

    def __init__(self, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.code = code


class NotYet(EdgedError):
    """A container that waits for something, such as its image."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Kubernetes' word for what it waits for."""


class RunId(NamedTuple):
    """Which run."""

    uid: str
    container: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.uid}/{self.container}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> "RunId":
        """From its text. Raises ValueError."""
        uid, container, attempt = text.split("/")
        return cls(uid, container, int(attempt))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended. Codes above 128 are signals, as in a shell."""

    code: int
    at: float
    """Seconds since 1970."""
    reason: str = ""
    """Kubernetes' word; empty for the one that follows from the code."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A run that the runtime knows."""

    id: RunId
    at: float
    """When it was started, seconds since 1970."""
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the machine that a container sees at a path."""

    source: Path
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class StartOrder:
    """Everything a runtime needs to start a run."""

    id: RunId
    pod: Pod
    container: Container
    command: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    groups: tuple[int, ...] = ()
    log: Path = field(default_factory=Path)
    message: Path | None = None
    """The file that it sees at its terminationMessagePath; None where it can have none."""
    tell: Callable[[str, str], None] = lambda reason, message: None
    """Told of what happens on the way, as Events have it; `Failed` and `BackOff` are warnings."""


class Processes(NamedTuple):
    """The processes of a run."""

    pid: int
    """The first of them, which all others come from."""
    mark: str = ""
    """What is in the name of the cgroup that has these and no others; empty where there is none."""


class Session(Protocol):
    """A command beside a run that somebody talks to."""

    async def read(self, size: int) -> tuple[bool, bytes] | None:
        """What it says next, `size` bytes at most, and whether as an error; None when it says no more. May be cancelled."""
        ...

    async def write(self, content: bytes) -> None:
        """Give it input; what it does not want is dropped."""
        ...

    def end_input(self) -> None:
        """There is no more input."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Its terminal, if it has one, has another size."""
        ...

    async def close(self) -> int:
        """End it, if it has not ended: its exit code."""
        ...


class Runtime(Protocol):
    """Something that runs containers."""

    name: str
    """Part of the node's containerRuntimeVersion, and of its label."""

    def refusals(self, pod: Pod) -> list[str]:
        """What a pod asks for that this runtime cannot give."""
        ...

    async def open(self, exited: Callable[[RunId, Exit], None]) -> list[Running]:
        """Begin: every run of before; `exited` is told of the ends of these, and of later ones. Raises RuntimeTrouble."""
        ...

    async def prepare(self, pod: Pod) -> None:
        """Make what the containers of a pod share, or find it again. Raises RuntimeTrouble."""
        ...

    def address(self, uid: str) -> str:
        """A pod's own address once it is prepared; empty where it has the machine's."""
        ...

    async def network(self, pod: Pod) -> str:
        """The file of the network that a prepared pod has; empty for the machine's. Raises RuntimeTrouble."""
        ...

    async def start(self, order: StartOrder) -> float:
        """Start a run: when it was started, seconds since 1970. Raises CannotStart, NotYet, RuntimeTrouble."""
        ...

    async def signal(self, id: RunId, number: int, *, everything: bool = False) -> None:
        """Send a signal to a run's first process, or to all of its processes. Nothing happens when it has ended."""
        ...

    async def exec(self, order: StartOrder, command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
        """Run a command beside a run, as it would itself: its exit code and its output, cut. Raises TimeoutError, CannotStart."""
        ...

    async def talk(self, order: StartOrder, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """Run a command beside a run, as it would itself, for somebody to talk to. Raises CannotStart, RuntimeTrouble."""
        ...

    def processes(self) -> Mapping[RunId, Processes]:
        """The processes of each run that goes on."""
        ...

    async def forget(self, id: RunId) -> None:
        """Drop what is known of a run that has ended."""
        ...

    async def remove(self, uid: str) -> None:
        """A pod is gone: drop what its containers shared. Raises RuntimeTrouble."""
        ...

    async def close(self, *, for_good: bool = False) -> None:
        """Leave everything running; `for_good` what the runtime itself has running goes, once there is nothing else."""
        ...
