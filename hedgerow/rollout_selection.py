"""What a rollout's selection names that is not there: a model, a device, a label. No I/O.

A rollout of no device is no error, for its devices may come later; but a misspelt name would wait for them for ever.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from edgewire.config import nearest
from hedgerow.cluster import DeviceView

_MOST = 10
"""Names that are listed."""


def problems(spec: Mapping[str, Any], devices: Collection[DeviceView]) -> list[str]:
    """A sentence for each name in a DeviceFirmware's spec that no device of its namespace has."""
    selected, waves = spec.get("devices") or {}, spec.get("waves") or {}
    names = sorted(view.metadata.name for view in devices)
    models = sorted({view.spec.device_model_ref.name for view in devices})
    labels = sorted({f"{key}={value}" for view in devices for key, value in view.metadata.labels.items()})
    wanted = (selected.get("selector") or {}).get("matchLabels") or {}
    found = []
    if (model := selected.get("model")) and model not in models:
        found.append(_missing("device of the model", model, models, "models"))
    found += _absent(selected.get("names") or (), names)
    found += [
        _missing("device with the label", label, labels, "labels")
        for label in (f"{key}={value}" for key, value in wanted.items())
        if label not in labels
    ]
    found += _absent((waves.get("canary") or {}).get("names") or (), names)
    return list(dict.fromkeys(found))


def _absent(wanted: Iterable[str], names: list[str]) -> list[str]:
    return [_missing("device", name, names, "devices") for name in wanted if name not in names]


def _missing(what: str, name: str, known: list[str], of: str) -> str:
    near = nearest(name, known)
    hint = f"; did you mean {near}?" if near else "."
    there = ", ".join(known[:_MOST]) + (", …" if len(known) > _MOST else "")
    return f"there is no {what} {name}{hint} {of.capitalize()} are: {there or 'none'}"
