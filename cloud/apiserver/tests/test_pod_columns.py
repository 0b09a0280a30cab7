"""The word that `kubectl get pods` has for a pod."""

from typing import Any

import pytest

from cloud.apiserver import pod_columns

RUNS: dict[str, Any] = {"name": "c", "ready": True, "state": {"running": {}}}
COMPLETED: dict[str, Any] = {"name": "d", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}
READY = {"type": "Ready", "status": "True"}


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason}}}


def terminated(**how: Any) -> dict[str, Any]:
    return {"name": "c", "state": {"terminated": how}}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, "Unknown"),
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Running", "containerStatuses": [RUNS]}, "Running"),
        ({"phase": "Pending", "containerStatuses": [waiting("ImagePullBackOff")]}, "ImagePullBackOff"),
        ({"phase": "Running", "containerStatuses": [waiting("First"), waiting("Second")]}, "First"),
        ({"phase": "Failed", "containerStatuses": [terminated(reason="Error", exitCode=1)]}, "Error"),
        ({"phase": "Failed", "containerStatuses": [terminated(exitCode=3)]}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [terminated(signal=9)]}, "Signal:9"),
        ({"phase": "Succeeded", "containerStatuses": [COMPLETED]}, "Completed"),
        ({"phase": "Running", "containerStatuses": [COMPLETED, RUNS], "conditions": [READY]}, "Running"),
        ({"phase": "Running", "containerStatuses": [COMPLETED, RUNS]}, "NotReady"),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            "SchedulingGated",
        ),
        ({"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}, "Init:0/2"),
        ({"phase": "Pending", "initContainerStatuses": [COMPLETED, waiting("PodInitializing")]}, "Init:1/2"),
        ({"phase": "Pending", "initContainerStatuses": [waiting("ErrImagePull")]}, "Init:ErrImagePull"),
        ({"phase": "Pending", "initContainerStatuses": [terminated(exitCode=2)]}, "Init:ExitCode:2"),
        (
            {"phase": "Running", "initContainerStatuses": [{"name": "s", "started": True, "state": {"running": {}}}]},
            "Running",
        ),
    ],
)
def test_a_pod_has_a_word(status: dict[str, Any], word: str) -> None:
    spec = {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]}
    assert pod_columns.state({"metadata": {}, "spec": spec, "status": status}) == word


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Running"}, "Terminating"),
        ({"phase": "Succeeded"}, "Succeeded"),
        ({"phase": "Running", "reason": "NodeLost"}, "Unknown"),
    ],
)
def test_a_pod_that_is_being_deleted_has_another(status: dict[str, Any], word: str) -> None:
    assert pod_columns.state({"metadata": {"deletionTimestamp": "now"}, "status": status}) == word
