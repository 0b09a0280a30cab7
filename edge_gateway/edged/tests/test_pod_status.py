"""The status of a pod, field by field, as the API server takes it."""

from edge_gateway.edged.pod_status import rfc3339
from edge_gateway.edged.tests.bench import WALL, Bench, a_container, a_pod

START = "2026-01-01T00:00:00Z"


def test_a_running_pods_status_is_a_kubelets() -> None:
    bench = Bench(a_pod())
    bench.step()
    held = {"status": "True", "lastTransitionTime": START}
    assert bench.status == {
        "phase": "Running",
        "startTime": START,
        "conditions": [
            {"type": type, **held} for type in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
        ],
        "containerStatuses": [
            {
                "name": "c",
                "image": "none",
                "imageID": "",
                "containerID": "process://u1/c/0",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": START}},
                "lastState": {},
            }
        ],
        "hostIP": "192.168.1.17",
        "hostIPs": [{"ip": "192.168.1.17"}],
        "podIP": "192.168.1.17",
        "podIPs": [{"ip": "192.168.1.17"}],
    }


def test_a_container_that_ended_says_when_how_and_which_one_it_was() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.step()
    bench.wait(5)
    bench.exit("c", 137, "OOMKilled")
    assert bench.state() == {
        "terminated": {
            "exitCode": 137,
            "reason": "OOMKilled",
            "startedAt": START,
            "finishedAt": "2026-01-01T00:00:05Z",
            "containerID": "process://u1/c/0",
        }
    }
    assert bench.status["phase"] == "Failed"


def test_an_address_belongs_to_a_pod_from_its_preparation_on() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    assert "podIP" not in bench.status
    assert bench.status["phase"] == "Pending"
    assert bench.condition("PodReadyToStartContainers") == "False"


def test_conditions_keep_the_time_of_their_last_change() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.step()
    bench.wait(60)
    bench.exit("c", 0)
    bench.wait(60)
    times = {condition["type"]: condition["lastTransitionTime"] for condition in bench.status["conditions"]}
    assert times["Initialized"] == START
    assert times["Ready"] == "2026-01-01T00:01:00Z"
    reasons = {condition["type"]: condition.get("reason") for condition in bench.status["conditions"]}
    assert reasons["Ready"] == "PodCompleted"


def test_a_pod_that_is_refused_tells_no_states_of_containers_that_will_never_be() -> None:
    bench = Bench(a_pod(initContainers=[a_container("i")]))
    bench.life.reject("UnsupportedPod", "why")
    bench.step()
    assert bench.status.keys().isdisjoint({"containerStatuses", "initContainerStatuses"})


def test_one_of_several_containers_that_crashes_leaves_its_pod_running() -> None:
    bench = Bench(a_pod(a_container("a"), a_container("b")))
    bench.step()
    bench.exit("a", 1)
    bench.exit("a", 1)
    assert bench.status["phase"] == "Running"
    assert bench.condition("Ready") == "False"
    assert bench.state("b").keys() == {"running"}


def test_times_are_kubernetes_times() -> None:
    assert rfc3339(WALL + 0.9) == START
