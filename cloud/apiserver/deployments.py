"""Deployments: a ReplicaSet for each version of the template, and how pods pass from one to the next (pkg/controller/deployment).

Revisions are annotations, as `kubectl rollout history` and `undo` read them. While a Deployment is paused, only its number
of pods is followed, and that where one ReplicaSet has them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from cloud.apiserver import conditions, workload_rules
from cloud.apiserver.event_records import NORMAL, Note
from cloud.apiserver.formats import format_time, parse_time
from cloud.apiserver.state import Change as Committed
from cloud.apiserver.state import Stored
from cloud.apiserver.workloads import Change, Deletion, Plan, later, number, owner_reference, share, template_hash

Object = dict[str, Any]
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"
_DIGITS = 18
"""Of a revision, which anybody may write, at most."""
_UNAVAILABLE = "Deployment does not have minimum availability."


@dataclass(slots=True)
class _Set:
    """A ReplicaSet of a Deployment."""

    obj: Object
    wanted: int
    """How many pods it is to have, as far as this plan goes."""

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def revision(self) -> int:
        written = (self.obj["metadata"].get("annotations") or {}).get(REVISION, "")
        return int(written) if written.isascii() and written.isdigit() and len(written) <= _DIGITS else 0

    def counts(self, name: str) -> int:
        return number(self.obj.get("status") or {}, name)

    @property
    def settled(self) -> bool:
        """Whether its controller has seen what it is to have, and nothing of what is too much is left."""
        seen = self.counts("observedGeneration") >= number(self.obj["metadata"], "generation", 1)
        return seen and self.counts("replicas") + self.counts("terminatingReplicas") == 0


class Deployments:
    """A `workload_controller.Planner`."""

    name = "deployment-controller"
    storage = "deployments.apps"
    children = "replicasets.apps"

    def load(self) -> None:
        """Nothing."""

    def concerns_all(self, change: Committed) -> bool:
        """Nothing does."""
        return False

    def read(self, stored: Stored) -> Object | None:
        """A ReplicaSet."""
        found: Object = msgspec.json.decode(stored.body)
        return found

    def gone(self, uid: str) -> None:
        """Nothing is remembered."""

    def plan(self, owner: Object, children: Sequence[Object], now: datetime) -> Plan:
        """What is to be done for a Deployment."""
        if owner["metadata"].get("deletionTimestamp"):
            return Plan()
        sets = [_Set(child, number(child["spec"], "replicas", 1)) for child in sorted(children, key=_age)]
        rollout = _Rollout(owner, [s for s in sets if not s.obj["metadata"].get("deletionTimestamp")])
        if owner["spec"].get("paused"):
            rollout.follow_number()
        elif rollout.new is None:
            rollout.begin()
        else:
            rollout.number_revision()
            if owner["spec"]["strategy"].get("type") == workload_rules.RECREATE:
                rollout.recreate()
            else:
                rollout.roll()
            rollout.clean_up()
        rollout.say(now)
        return rollout.plan


class _Rollout:
    """One look at one Deployment."""

    def __init__(self, owner: Object, sets: list[_Set]) -> None:
        self.plan = Plan()
        self._owner, self._spec, self._sets = owner, owner["spec"], sets
        self._wanted = number(owner["spec"], "replicas", 1)
        template = _plain(owner["spec"]["template"])
        self.new = next((s for s in sets if _plain(s.obj["spec"]["template"]) == template), None)
        self._olds = [s for s in sets if s is not self.new]

    # ReplicaSets

    def begin(self) -> None:
        """Make the ReplicaSet of a template that has none."""
        meta, template = self._owner["metadata"], self._spec["template"]
        hash = self._hash(template)
        labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: hash}
        selector = self._spec["selector"]
        revision = 1 + max((s.revision for s in self._olds), default=0)
        recreates = self._spec["strategy"].get("type") == workload_rules.RECREATE
        first = 0 if recreates and not all(s.wanted == 0 and s.settled for s in self._olds) else self._room_for_new()
        self.plan.create.append(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{meta['name']}-{hash}",
                    "labels": labels,
                    "annotations": {REVISION: str(revision), **self._cause()},
                    "ownerReferences": [owner_reference(self._owner)],
                },
                "spec": {
                    "replicas": first,
                    "minReadySeconds": number(self._spec, "minReadySeconds"),
                    "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: hash}},
                    "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
                },
            }
        )
        self._note(f"Scaled up replica set {meta['name']}-{hash} from 0 to {first}")
        self._say_revision(revision)
        if recreates:
            for old in self._olds:
                self._scale(old, 0)

    def _hash(self, template: Object) -> str:
        """Of a template that has no ReplicaSet; somebody may have changed the one that was made of it."""
        name, taken = self._owner["metadata"]["name"], {s.name for s in self._sets}
        hashes = (template_hash(template, turn) for turn in range(len(taken) + 1))
        return next(hash for hash in hashes if f"{name}-{hash}" not in taken)

    def _room_for_new(self) -> int:
        if not self._olds:
            return self._wanted
        return max(0, min(self._wanted, self._wanted + self._surge() - sum(s.wanted for s in self._olds)))

    def number_revision(self) -> None:
        """The version that is to be is the newest, also when it is an old one that came back."""
        assert self.new is not None
        revision = 1 + max((s.revision for s in self._olds), default=0)
        if self.new.revision < revision:
            annotations = {REVISION: str(revision), **self._cause()}
            self.plan.change.append(Change(self.new.name, {"metadata": {"annotations": annotations}}))
        self._say_revision(max(revision, self.new.revision))

    def _say_revision(self, revision: int) -> None:
        if (self._owner["metadata"].get("annotations") or {}).get(REVISION) != str(revision):
            self.plan.own = {"metadata": {"annotations": {REVISION: str(revision)}}}

    def _cause(self) -> dict[str, str]:
        cause = (self._owner["metadata"].get("annotations") or {}).get(CAUSE)
        return {CAUSE: cause} if cause else {}

    def clean_up(self) -> None:
        """Delete the oldest ReplicaSets beyond those that are kept for `kubectl rollout undo`."""
        empty = [s for s in self._olds if s.wanted == 0 and s.settled]
        empty.sort(key=lambda s: s.revision)
        beyond = len(empty) - number(self._spec, "revisionHistoryLimit", 10)
        for old in empty[: max(0, beyond)]:
            self.plan.delete.append(Deletion(old.name, old.obj["metadata"]["uid"]))

    # Numbers

    def follow_number(self) -> None:
        """Paused: the one ReplicaSet that has pods gets as many as are wanted."""
        active = [s for s in self._sets if s.wanted > 0] or ([self.new] if self.new is not None else [])
        if len(active) == 1:
            self._scale(active[0], self._wanted)

    def recreate(self) -> None:
        """First nothing of the old is left, then the new one gets all."""
        assert self.new is not None
        for old in self._olds:
            self._scale(old, 0)
        if all(old.settled for old in self._olds):
            self._scale(self.new, self._wanted)

    def roll(self) -> None:
        """A few more of the new, a few less of the old."""
        new = self.new
        assert new is not None
        total = sum(s.wanted for s in self._sets)
        if new.wanted > self._wanted:
            self._scale(new, self._wanted)
            return
        room = self._wanted + self._surge() - total
        if new.wanted < self._wanted and room > 0:
            self._scale(new, min(self._wanted, new.wanted + room))
            return
        least = self._wanted - self._unavailable()
        left = total - least - max(0, new.wanted - new.counts("availableReplicas"))
        left = min(left, sum(old.wanted for old in self._olds))
        for old in self._olds:  # those that are of no use go first
            down = min(left, max(0, old.wanted - old.counts("availableReplicas")))
            if down > 0:
                left -= down
                self._scale(old, old.wanted - down)
        spare = min(left, sum(s.counts("availableReplicas") for s in self._sets) - least)
        for old in self._olds:
            down = min(spare, old.wanted)
            if down > 0:
                spare -= down
                self._scale(old, old.wanted - down)

    def _surge(self) -> int:
        rolling = self._spec["strategy"].get("rollingUpdate") or {}
        if self._spec["strategy"].get("type") == workload_rules.RECREATE:
            return 0
        return share(rolling.get("maxSurge"), self._wanted, up=True)

    def _unavailable(self) -> int:
        rolling = self._spec["strategy"].get("rollingUpdate") or {}
        if self._spec["strategy"].get("type") == workload_rules.RECREATE:
            return 0
        most = share(rolling.get("maxUnavailable"), self._wanted, up=False)
        return min(self._wanted, most if most or self._surge() else 1)

    def _scale(self, target: _Set, to: int) -> None:
        before, target.wanted = target.wanted, to
        if before == to:
            return
        self.plan.change = [c for c in self.plan.change if c.name != target.name or "spec" not in c.patch]
        self.plan.change.append(Change(target.name, {"spec": {"replicas": to}}))
        word = "up" if to > before else "down"
        self._note(f"Scaled {word} replica set {target.name} from {before} to {to}")

    def _note(self, message: str) -> None:
        self.plan.notes.append(Note(NORMAL, "ScalingReplicaSet", "Scaling", message, Deployments.name))

    # Status

    def say(self, now: datetime) -> None:
        """What its status should say."""
        new = self.new
        updated = new.counts("replicas") if new is not None else 0
        replicas, ready, available = (
            sum(s.counts(name) for s in self._sets) for name in ("replicas", "readyReplicas", "availableReplicas")
        )
        status: Object = {
            "replicas": replicas or None,
            "updatedReplicas": updated or None,
            "readyReplicas": ready or None,
            "availableReplicas": available or None,
            "unavailableReplicas": max(0, max(self._wanted, replicas) - available) or None,
            "observedGeneration": self._owner["metadata"].get("generation", 1),
        }
        enough = available >= self._wanted - self._unavailable()
        well = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        found = _with(
            self._owner, now, "Available", *(well if enough else ("False", "MinimumReplicasUnavailable", _UNAVAILABLE))
        )
        status["conditions"] = self._progressing({**self._owner, "status": {"conditions": found}}, status, now)
        self.plan.status = status

    def _progressing(self, owner: Object, status: Object, now: datetime) -> list[Object]:
        deadline = self._spec.get("progressDeadlineSeconds")
        if deadline is None:
            return conditions.of(owner)
        name = f'ReplicaSet "{self.new.name}"' if self.new is not None else f'Deployment "{owner["metadata"]["name"]}"'
        counts = [status[key] or 0 for key in ("updatedReplicas", "replicas", "availableReplicas")]
        before = conditions.find(owner, "Progressing") or {}
        if counts == [self._wanted] * 3 and self.new is not None:
            return _with(
                owner, now, "Progressing", "True", "NewReplicaSetAvailable", f"{name} has successfully progressed."
            )
        if self._spec.get("paused"):
            return _with(owner, now, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        moved = _has_moved(self._owner.get("status") or {}, status)
        done = before.get("reason") == "NewReplicaSetAvailable"
        if self.new is None:
            return _with(
                owner, now, "Progressing", "True", "NewReplicaSetCreated", "Created new replica set", touch=True
            )
        if moved or not before or before.get("reason") == "DeploymentPaused":
            return _with(owner, now, "Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.", touch=True)
        since = parse_time(before.get("lastUpdateTime") or "")
        if done or since is None:
            return conditions.of(owner)  # a pod that failed later is no rollout that failed
        until = later(since, deadline)
        if now >= until:
            why = f"{name} has timed out progressing."
            return _with(owner, now, "Progressing", "False", "ProgressDeadlineExceeded", why)
        self.plan.look_at(until)
        return conditions.of(owner)


def _has_moved(before: Object, after: Object) -> bool:
    """Whether a rollout has come further."""
    old = number(before, "replicas") - number(before, "updatedReplicas")
    left = number(after, "replicas") - number(after, "updatedReplicas")
    more = any(number(after, n) > number(before, n) for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return more or left < old


def _with(
    owner: Object, now: datetime, type: str, status: str, reason: str, message: str, *, touch: bool = False
) -> list[Object]:
    """The conditions with this one; `touch` says anew when it was looked at."""
    made = conditions.with_condition(owner, now, type, status, reason, message)
    if made is None and not touch:
        return conditions.of(owner)
    found = conditions.of(owner) if made is None else made
    return [{**c, "lastUpdateTime": format_time(now)} if c.get("type") == type else c for c in found]


def _plain(template: Object) -> Object:
    """A template without what its ReplicaSet is told apart by."""
    meta = template.get("metadata") or {}
    labels = {name: value for name, value in (meta.get("labels") or {}).items() if name != HASH}
    kept = {name: value for name, value in {**meta, "labels": labels}.items() if value}
    return {**template, "metadata": kept}


def _age(child: Object) -> tuple[str, str]:
    meta = child["metadata"]
    return meta.get("creationTimestamp") or "", meta["name"]
