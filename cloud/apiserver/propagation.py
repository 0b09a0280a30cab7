"""What becomes of the dependents of a deleted object: the propagation policies and the finalizers that carry them out.

Background is no finalizer: the object goes, and what it owned is collected afterwards. `foregroundDeletion` keeps it until the
dependents that block it are gone, `orphan` until they are let go (k8s.io/apiserver/pkg/registry/generic/registry/store.go).
"""

from cloud.apiserver import fields, status
from cloud.apiserver.status import Cause

BACKGROUND, FOREGROUND, ORPHAN = "Background", "Foreground", "Orphan"
WAITS_FOR_DEPENDENTS = "foregroundDeletion"
"""The finalizer of an object that goes after its dependents."""
ORPHANS_DEPENDENTS = "orphan"
"""The finalizer of an object that lets its dependents go before it goes."""
_FINALIZERS = {FOREGROUND: WAITS_FOR_DEPENDENTS, ORPHAN: ORPHANS_DEPENDENTS}
_OURS = frozenset(_FINALIZERS.values())


def check(policy: str | None, orphan_dependents: bool | None) -> None:
    """Raise ApiError 422 unless delete options name one known policy; `orphan_dependents` is the older way to say it."""
    causes: list[Cause] = []
    if policy is not None and orphan_dependents is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(fields.invalid("propagationPolicy", policy, why))
    if policy not in (None, BACKGROUND, FOREGROUND, ORPHAN):
        causes.append(fields.not_supported("propagationPolicy", policy, [FOREGROUND, BACKGROUND, ORPHAN, "nil"]))
    if causes:
        raise status.invalid("DeleteOptions", "meta.k8s.io", "", causes)


def finalizers(present: list[str], policy: str | None, orphan_dependents: bool | None) -> list[str]:
    """The finalizers of an object deleted so; without a policy it keeps those it has."""
    if policy is None and orphan_dependents is not None:
        policy = ORPHAN if orphan_dependents else BACKGROUND
    if policy is None:
        return present
    kept = [name for name in present if name not in _OURS]
    return [*kept, _FINALIZERS[policy]] if policy in _FINALIZERS else kept
