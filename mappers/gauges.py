"""The numbers that Prometheus fetches, and their text (exposition format 0.0.4).

A gauge is shown while its device is online: the last value of one that is not would pass for a measurement.
"""

from collections.abc import Iterable

from .push import Gauge, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UP = "hedgerow_device_up"


class Gauges:
    """The gauges of all devices, by device and property."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, tuple[Gauge, str]]] = {}
        self._up: dict[str, bool] = {}

    def set(self, gauge: Gauge, sample: Sample) -> None:
        """A property has a new value."""
        self._values.setdefault(sample.device, {})[sample.property] = gauge, _number(sample)

    def state(self, device: str, *, online: bool) -> None:
        """A device is online, or not."""
        self._up[device] = online

    def keep(self, device: str, properties: Iterable[str]) -> None:
        """Of a device's gauges, only those of these properties are left."""
        kept = set(properties)
        values = {name: value for name, value in self._values.get(device, {}).items() if name in kept}
        self._values[device] = values
        if not values:
            del self._values[device]

    def forget(self, device: str) -> None:
        """A device is served no more."""
        self._values.pop(device, None)
        self._up.pop(device, None)

    def text(self) -> str:
        """All of them, each metric with its help and type, as Prometheus reads it."""
        families: dict[str, list[str]] = {}
        helps = {UP: "Whether the device is online."}
        for device, online in self._up.items():
            families.setdefault(UP, []).append(f"{UP}{_labels(device, ())} {int(online)}")
        for device, values in self._values.items():
            if not self._up.get(device):
                continue
            for gauge, number in values.values():
                helps.setdefault(gauge.metric, gauge.help)
                families.setdefault(gauge.metric, []).append(f"{gauge.metric}{_labels(device, gauge.labels)} {number}")
        lines: list[str] = []
        for metric, found in sorted(families.items()):
            lines += [f"# HELP {metric} {_help(helps[metric])}", f"# TYPE {metric} gauge", *dict.fromkeys(found)]
        return "".join(f"{line}\n" for line in lines)


def _number(sample: Sample) -> str:
    if sample.type == "BOOLEAN":
        return "1" if sample.value == "true" else "0"
    special = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}
    return special.get(sample.value.lower(), sample.value)


def _labels(device: str, more: tuple[tuple[str, str], ...]) -> str:
    namespace, _, name = device.partition("/")
    labels = (("namespace", namespace), ("device", name), *more)
    return "{" + ",".join(f'{key}="{_quoted(value)}"' for key, value in labels) + "}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
