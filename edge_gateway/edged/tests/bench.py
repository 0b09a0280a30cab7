"""A pod's life on a bench: a clock moved by hand, and a runtime that does at once what it is asked for."""

from typing import Any

import msgspec

from edge_gateway.edged import pods
from edge_gateway.edged.actions import Action, Call, Hook, Now, Prepare, Signal, Start, Tell
from edge_gateway.edged.environment import Facts
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pod_status import status_of
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.records import PodRecord
from edge_gateway.edged.runtime import Exit

FACTS = Facts("edge1", "192.168.1.17", 4, 1 << 30)
WALL = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def a_container(name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "none", "command": ["true"], **more}


def a_pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    """A pod `default/web`, of one container unless others are given."""
    metadata = {"name": "web", "namespace": "default", "uid": "u1", "labels": {"app": "web"}}
    content = {"metadata": metadata, "spec": {"containers": list(containers) or [a_container()], **spec}}
    return pods.parse(msgspec.json.encode(content))


class Bench:
    """One pod."""

    def __init__(self, pod: Pod, record: PodRecord | None = None, *, mono: float = 1000.0, wall: float = WALL) -> None:
        self.mono, self.wall = mono, wall
        self.life = PodLife(pod, self.now, record)
        self.obliging = True
        """Starts and preparations succeed at once."""
        self.starts: list[tuple[str, int]] = []
        self.signals: list[tuple[str, int, bool]] = []
        self.calls: list[Call] = []
        self.hooks: list[Hook] = []
        self.prepares = 0
        self.told: list[tuple[str, str]] = []

    @property
    def now(self) -> Now:
        return Now(self.mono, self.wall)

    def step(self) -> None:
        """Let everything happen that happens without time."""
        while actions := self.life.step(self.now):
            for action in actions:
                self._do(action)
        assert self.status["phase"]  # the service looks at it after each step, and conditions have their times by that

    def _do(self, action: Action) -> None:
        match action:
            case Prepare():
                self.prepares += 1
                if self.obliging:
                    self.life.prepare_done()
            case Start(container, attempt):
                self.starts.append((container.name, attempt))
                if self.obliging:
                    self.life.started(container.name, attempt, self.wall, self.now)
            case Signal(name, _, number, everything):
                self.signals.append((name, number, everything))
            case Call():
                self.calls.append(action)
            case Hook():
                self.hooks.append(action)
            case Tell(happened):
                self.told.append((happened.reason, happened.message))

    def wait(self, seconds: float) -> None:
        """Let time pass, from one thing that is due to the next."""
        end = self.mono + seconds
        self.step()
        while (due := self.life.due(self.now)) is not None and due <= end:
            self._to(due)
            self.step()
        self._to(max(end, self.mono))
        self.step()

    def _to(self, mono: float) -> None:
        self.wall += mono - self.mono
        self.mono = mono

    def exit(self, name: str = "c", code: int = 0, reason: str = "") -> None:
        """The container ends."""
        container = self.life.of(name)
        assert container is not None
        self.life.exited(name, container.record.attempt, Exit(code, self.wall, reason), self.now)
        self.step()

    def probed(self, ok: bool) -> None:
        """Answer the oldest probe."""
        asked = self.calls.pop(0)
        self.life.probed(asked.container.name, asked.kind, ok, "" if ok else "no", self.now)
        self.step()

    def hooked(self, error: str = "") -> None:
        """Answer the oldest lifecycle call."""
        asked = self.hooks.pop(0)
        self.life.hooked(asked.container.name, asked.which, error, self.now)
        self.step()

    def stop(self, grace_s: float) -> None:
        self.life.stop(grace_s, self.now)
        self.step()

    def reasons(self) -> list[str]:
        """Why was told what so far, and forget it."""
        told = [reason for reason, _ in self.told]
        self.told.clear()
        return told

    @property
    def status(self) -> dict[str, Any]:
        return status_of(self.life, FACTS, "process", self.now)

    def state(self, name: str = "c") -> dict[str, Any]:
        """A container's state as it is reported."""
        [found] = [c for c in self._statuses() if c["name"] == name]
        state: dict[str, Any] = found["state"]
        return state

    def last(self, name: str = "c") -> dict[str, Any]:
        [found] = [c for c in self._statuses() if c["name"] == name]
        last: dict[str, Any] = found["lastState"]
        return last

    def _statuses(self) -> list[dict[str, Any]]:
        return [*self.status["containerStatuses"], *self.status.get("initContainerStatuses", [])]

    def condition(self, type: str) -> str:
        [found] = [c for c in self.status["conditions"] if c["type"] == type]
        return str(found["status"])

    def restarted(self) -> "Bench":
        """edgecore was killed and is back: the record comes from the store."""
        record = msgspec.json.decode(msgspec.json.encode(self.life.record), type=PodRecord)
        return Bench(self.life.pod, record, mono=50.0, wall=self.wall)
