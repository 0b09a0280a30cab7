"""The definition of DeviceFirmware, as the embedded API applies it."""

from typing import Any

import msgspec
import pytest

from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core
from cloud.firmware_objects import DeviceFirmware
from edgewire.tests.firmware_image import firmware

IMAGE = msgspec.to_builtins(firmware().image)


@pytest.fixture(scope="module")
def core() -> Core:
    core = Core()
    core.define_devices()
    return core


def a_rollout(name: str = "new", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "devices.hedgerow.dev/v1alpha1",
        "kind": "DeviceFirmware",
        "metadata": {"name": name},
        "spec": {"image": IMAGE, "devices": {"model": "unix"}, **spec},
    }


def test_what_is_left_out_has_the_value_that_cloudcore_assumes(core: Core) -> None:
    made = core.create("devicefirmwares", a_rollout("plain", waves={}), "default")
    parsed = msgspec.convert(made, DeviceFirmware)
    bare = msgspec.convert(
        {**made, "spec": {"image": IMAGE, "devices": {"model": "unix"}, "waves": {}}}, DeviceFirmware
    )
    assert parsed.spec == bare.spec


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"devices": {}}, "names, model or selector"),
        ({"image": {**IMAGE, "id": "short"}}, "spec.image.id"),
        ({"image": {**IMAGE, "manifestSize": IMAGE["size"] + 1}}, "manifestSize must not be above size"),
        ({"image": {name: value for name, value in IMAGE.items() if name != "signature"}}, "spec.image.signature"),
        ({"waves": {"canary": {}}}, "names or a count"),
        ({"waves": {"canary": {"names": ["a"], "count": 1}}}, "names or a count"),
        ({"waves": {"percent": [50, 50]}}, "spec.waves.percent"),
        ({"waves": {"percent": [0]}}, "spec.waves.percent"),
        ({"waves": {"gate": "manual"}}, "spec.waves.gate"),
        ({"maxFailurePercent": 101}, "spec.maxFailurePercent"),
        ({"timeoutSeconds": 0}, "spec.timeoutSeconds"),
        ({"concurrency": 0}, "spec.concurrency"),
        ({"devices": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}, "In and NotIn need values"),
        (
            {"devices": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}},
            "In and NotIn need values",
        ),
    ],
)
def test_a_mistake_is_refused_by_its_name(core: Core, spec: dict[str, Any], why: str) -> None:
    with pytest.raises(ApiError, match=why):
        core.create("devicefirmwares", a_rollout("wrong", **spec), "default")


def test_retry_counts_up_only(core: Core) -> None:
    core.create("devicefirmwares", a_rollout("again", retry=2), "default")
    core.patch("devicefirmwares", "again", {"spec": {"retry": 3}})
    with pytest.raises(ApiError, match="retry counts up only"):
        core.patch("devicefirmwares", "again", {"spec": {"retry": 1}})
