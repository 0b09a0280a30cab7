"""What is known of a pod and its containers, and outlives edgecore: how far each has come, and how it ended."""

from enum import Enum

from msgspec import Struct, field


class State(Enum):
    """As Kubernetes has it, and the moment in between."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "terminated"


class Ended(Struct, frozen=True):
    """How an attempt ended; seconds since 1970."""

    attempt: int
    code: int
    reason: str
    message: str
    started_at: float
    finished_at: float


class ContainerRecord(Struct):
    """What outlives edgecore."""

    state: State = State.WAITING
    attempt: int = 0
    restarts: int = 0
    started_at: float = 0.0
    ended: Ended | None = None
    last: Ended | None = None
    back_off_s: float = 0.0
    back_off_at: float = 0.0
    """Since 1970: when the back-off was last raised."""
    image: str = ""
    """What the attempt was started with; empty where that was not noted."""
    renewing: bool = False
    """Whether it was stopped for another image, and starts again whatever the restart policy says."""


class Final(Struct, frozen=True):
    """How a pod ended."""

    phase: str
    """`Succeeded` or `Failed`."""
    reason: str = ""
    message: str = ""


class Since(Struct, frozen=True):
    """A condition's status, and since when (since 1970)."""

    status: str
    at: float


class PodRecord(Struct):
    """What outlives edgecore."""

    id: str
    """`<namespace>/<name>`."""
    started_at: float
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    final: Final | None = None
    conditions: dict[str, Since] = field(default_factory=dict)
    boot: str = ""
    """Which of the machine's starts it last ran in."""
