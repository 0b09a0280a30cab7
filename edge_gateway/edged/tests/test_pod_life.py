"""What a pod does next: starts, restarts, ends, and stops, by the clock of the bench."""

import signal
from typing import Any

import pytest

from edge_gateway.edged.runtime import Exit, RunId, Running
from edge_gateway.edged.tests.bench import Bench, a_container, a_pod


def test_a_pod_runs_once_its_volumes_are_there() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    assert (bench.prepares, bench.starts) == (1, [])
    assert bench.state() == {"waiting": {"reason": "ContainerCreating"}}
    bench.obliging = True
    bench.life.prepare_done()
    bench.step()
    assert bench.starts == [("c", 0)]
    assert bench.status["phase"] == "Running"
    assert bench.condition("Ready") == "True"


def test_volumes_that_cannot_be_made_are_tried_again_and_told_once() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    bench.life.prepare_failed("no such ConfigMap", bench.now)
    bench.wait(9)
    assert bench.prepares == 1
    bench.wait(2)
    assert bench.prepares == 2
    bench.life.prepare_failed("no such ConfigMap", bench.now)
    bench.step()
    assert bench.reasons() == ["FailedMount"]
    bench.life.look_again()
    bench.step()
    assert bench.prepares == 3


def test_init_containers_run_one_after_another_before_the_others() -> None:
    inits = [a_container("one"), a_container("two")]
    bench = Bench(a_pod(a_container("a"), a_container("b"), initContainers=inits))
    bench.step()
    assert bench.starts == [("one", 0)]
    assert bench.status["phase"] == "Pending"
    assert bench.condition("Initialized") == "False"
    assert bench.state("a") == {"waiting": {"reason": "PodInitializing"}}
    bench.exit("one")
    assert bench.starts == [("one", 0), ("two", 0)]
    bench.exit("two")
    assert bench.starts[2:] == [("a", 0), ("b", 0)]
    assert bench.condition("Initialized") == "True"


def test_an_init_container_that_fails_is_tried_again_and_ends_a_pod_that_never_restarts() -> None:
    bench = Bench(a_pod(initContainers=[a_container("i")]))
    bench.step()
    bench.exit("i", 1)
    assert bench.starts == [("i", 0), ("i", 1)]
    once = Bench(a_pod(initContainers=[a_container("i")], restartPolicy="Never"))
    once.step()
    once.exit("i", 1)
    assert once.starts == [("i", 0)]
    assert once.status["phase"] == "Failed"
    once.wait(600)
    assert once.starts == [("i", 0)]


def test_a_sidecar_starts_first_stays_and_stops_last() -> None:
    sidecar = a_container("s", restartPolicy="Always")
    bench = Bench(a_pod(initContainers=[sidecar, a_container("i")], restartPolicy="Never"))
    bench.step()
    assert bench.starts == [("s", 0), ("i", 0)]
    bench.exit("i")
    assert bench.starts == [("s", 0), ("i", 0), ("c", 0)]
    bench.exit("s", 1)
    assert bench.starts[3:] == [("s", 1)]
    bench.exit("c")
    assert bench.signals == [("s", signal.SIGTERM, False)]
    assert bench.status["phase"] == "Running"
    bench.exit("s", 143)
    assert bench.status["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "code", "phase", "starts"),
    [
        ("Always", 0, "Running", 2),
        ("Always", 1, "Running", 2),
        ("OnFailure", 0, "Succeeded", 1),
        ("OnFailure", 1, "Running", 2),
        ("Never", 0, "Succeeded", 1),
        ("Never", 1, "Failed", 1),
    ],
)
def test_the_restart_policy_decides_what_follows_an_end(policy: str, code: int, phase: str, starts: int) -> None:
    bench = Bench(a_pod(restartPolicy=policy))
    bench.step()
    bench.exit("c", code)
    assert (bench.status["phase"], len(bench.starts)) == (phase, starts)
    if starts == 1:
        assert bench.condition("Ready") == "False"
        assert bench.state()["terminated"]["exitCode"] == code


def test_crashes_are_followed_by_longer_and_longer_waits() -> None:
    bench = Bench(a_pod())
    bench.step()
    bench.exit("c", 1)
    assert bench.starts == [("c", 0), ("c", 1)]
    for attempt, delay in enumerate([10, 20, 40, 80, 160, 300, 300], 2):
        bench.exit("c", 1)
        assert bench.state()["waiting"]["reason"] == "CrashLoopBackOff"
        assert "restarting failed container=c pod=web_default(u1)" in bench.state()["waiting"]["message"]
        assert bench.last()["terminated"]["exitCode"] == 1
        bench.wait(delay - 1)
        assert bench.starts[-1] == ("c", attempt - 1)
        bench.wait(1.1)
        assert bench.starts[-1] == ("c", attempt)
        assert bench.state().keys() == {"running"}
    [container] = bench.status["containerStatuses"]
    assert container["restartCount"] == 8
    assert "BackOff" in bench.reasons()


def test_ten_minutes_without_a_crash_set_the_back_off_back() -> None:
    bench = Bench(a_pod())
    bench.step()
    for _ in range(3):
        bench.exit("c", 1)
        bench.wait(60)
    bench.wait(700)
    bench.exit("c", 1)
    assert bench.state().keys() == {"running"}
    bench.exit("c", 1)
    assert "back-off 10s" in bench.state()["waiting"]["message"]


def test_a_command_that_does_not_exist_is_an_error_of_the_start() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.obliging = False
    bench.step()
    bench.life.prepare_done()
    bench.step()
    bench.life.exited("c", 0, Exit(127, bench.wall, "StartError", "exec: 'nope': No such file"), bench.now)
    bench.step()
    assert bench.state()["terminated"]["reason"] == "StartError"
    assert bench.told[-1] == ("Failed", "Error: exec: 'nope': No such file")
    assert bench.status["phase"] == "Failed"


def test_a_missing_config_map_is_waited_for_without_counting_as_a_crash() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    bench.life.prepare_done()
    bench.step()
    bench.life.must_wait("c", 'configmap "x" not found', bench.now)
    bench.wait(60)
    assert bench.state() == {"waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "x" not found'}}
    assert bench.starts[-1] == ("c", 0)
    bench.life.must_wait("c", 'configmap "x" not found', bench.now)
    bench.step()
    assert bench.reasons() == ["Failed"]
    before = len(bench.starts)
    bench.obliging = True
    bench.life.look_again()
    bench.step()
    assert bench.starts[before:] == [("c", 0)]
    assert bench.status["containerStatuses"][0]["restartCount"] == 0


def test_an_end_that_is_heard_of_before_the_start_counts() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.obliging = False
    bench.step()
    bench.life.prepare_done()
    bench.step()
    bench.exit("c", 3)
    bench.life.started("c", 0, bench.wall, bench.now)
    bench.step()
    assert bench.status["phase"] == "Failed"
    assert bench.state()["terminated"]["exitCode"] == 3
    assert bench.reasons() == ["Started"]


# Stopping


def test_a_pod_is_asked_to_stop_and_killed_when_its_time_is_over() -> None:
    bench = Bench(a_pod())
    bench.step()
    bench.stop(30)
    assert bench.signals == [("c", signal.SIGTERM, False)]
    bench.wait(29)
    assert len(bench.signals) == 1
    bench.wait(2)
    assert bench.signals[1] == ("c", signal.SIGKILL, True)
    assert not bench.life.finished
    bench.exit("c", 137)
    assert bench.life.finished
    assert bench.status["phase"] == "Failed"
    assert bench.starts == [("c", 0)]
    assert ("Killing", "Stopping container c") in bench.told


def test_a_kill_that_is_not_obeyed_is_sent_again() -> None:
    bench = Bench(a_pod())
    bench.step()
    bench.stop(0)
    assert bench.signals == [("c", signal.SIGKILL, True)]
    bench.wait(6)
    assert bench.signals == [("c", signal.SIGKILL, True)] * 2


def test_a_shorter_grace_period_replaces_a_longer_one_and_not_the_other_way() -> None:
    bench = Bench(a_pod())
    bench.step()
    bench.stop(300)
    bench.stop(5)
    bench.stop(300)
    bench.wait(6)
    assert ("c", signal.SIGKILL, True) in bench.signals


def test_the_pre_stop_hook_comes_first_and_has_its_part_of_the_time() -> None:
    hook = {"preStop": {"exec": {"command": ["drain"]}}}
    bench = Bench(a_pod(a_container(lifecycle=hook)))
    bench.step()
    bench.stop(10)
    assert (bench.hooks[0].which, bench.hooks[0].timeout_s, bench.signals) == ("preStop", 10, [])
    bench.wait(3)
    bench.hooked()
    assert bench.signals == [("c", signal.SIGTERM, False)]
    bench.wait(8)
    assert bench.signals[-1] == ("c", signal.SIGKILL, True)


def test_a_pre_stop_hook_that_hangs_leaves_two_seconds_to_stop() -> None:
    bench = Bench(a_pod(a_container(lifecycle={"preStop": {"exec": {"command": ["hang"]}}})))
    bench.step()
    bench.stop(5)
    bench.wait(5.5)
    assert bench.signals == [("c", signal.SIGTERM, False)]
    bench.wait(2)
    assert bench.signals[-1] == ("c", signal.SIGKILL, True)


def test_a_pod_that_never_started_is_finished_at_once() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    bench.stop(30)
    assert bench.life.finished
    bench.life.prepare_done()
    bench.wait(60)
    assert bench.starts == []


def test_a_container_that_starts_while_its_pod_is_deleted_is_stopped() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    bench.life.prepare_done()
    bench.step()
    bench.stop(30)
    assert not bench.life.finished
    bench.life.started("c", 0, bench.wall, bench.now)
    bench.step()
    assert bench.signals == [("c", signal.SIGTERM, False)]


def test_a_deadline_ends_a_pod_for_good() -> None:
    bench = Bench(a_pod(activeDeadlineSeconds=60))
    bench.wait(61)
    assert bench.signals == [("c", signal.SIGTERM, False)]
    bench.exit("c", 143)
    assert (bench.status["phase"], bench.status["reason"]) == ("Failed", "DeadlineExceeded")
    bench.wait(600)
    assert bench.starts == [("c", 0)]


def test_a_pod_that_is_refused_never_starts() -> None:
    bench = Bench(a_pod())
    bench.life.reject("UnsupportedPod", "container 'c': it has no `command`")
    bench.wait(60)
    assert (bench.prepares, bench.starts) == (0, [])
    assert bench.status["phase"] == "Failed"
    assert bench.status["message"] == "container 'c': it has no `command`"
    assert bench.told == [("UnsupportedPod", "container 'c': it has no `command`")]


# Probes


def probe(**more: Any) -> dict[str, Any]:
    return {"exec": {"command": ["check"]}, "periodSeconds": 5, **more}


def test_a_container_is_ready_when_its_probe_says_so_and_not_when_it_does_not() -> None:
    bench = Bench(a_pod(a_container(readinessProbe=probe(initialDelaySeconds=3, failureThreshold=2))))
    bench.step()
    assert bench.calls == []
    bench.wait(3)
    bench.probed(True)
    assert bench.condition("Ready") == "True"
    bench.wait(5)
    bench.probed(False)
    assert bench.condition("Ready") == "True"
    bench.wait(5)
    bench.probed(False)
    assert bench.condition("Ready") == "False"
    assert bench.status["conditions"][2]["message"] == "containers with unready status: [c]"
    assert bench.signals == []
    assert ("Unhealthy", "Readiness probe failed: no") in bench.told


def test_a_container_that_fails_its_liveness_probe_is_restarted() -> None:
    bench = Bench(a_pod(a_container(livenessProbe=probe(failureThreshold=2))))
    bench.step()
    for ok in (True, False, True, False):
        bench.probed(ok)
        assert bench.signals == []
        bench.wait(5)
    bench.probed(False)
    assert bench.signals == [("c", signal.SIGTERM, False)]
    assert ("Killing", "Container c failed liveness probe, will be restarted") in bench.told
    bench.exit("c", 143)
    assert bench.starts == [("c", 0), ("c", 1)]


def test_one_probe_at_a_time_however_long_it_takes() -> None:
    bench = Bench(a_pod(a_container(livenessProbe=probe())))
    bench.wait(60)
    assert len(bench.calls) == 1


def test_the_startup_probe_comes_before_the_others_and_gives_time() -> None:
    start = probe(failureThreshold=30)
    bench = Bench(a_pod(a_container(startupProbe=start, livenessProbe=probe(), readinessProbe=probe())))
    bench.step()
    for _ in range(10):
        assert [call.kind for call in bench.calls] == ["Startup"]
        bench.probed(False)
        bench.wait(5)
    assert bench.status["containerStatuses"][0]["started"] is False
    bench.probed(True)
    bench.wait(5)
    assert sorted(call.kind for call in bench.calls) == ["Liveness", "Readiness"]
    assert bench.status["containerStatuses"][0]["started"] is True


def test_a_startup_probe_that_never_succeeds_ends_the_container() -> None:
    bench = Bench(a_pod(a_container(startupProbe=probe(failureThreshold=3, terminationGracePeriodSeconds=1))))
    bench.step()
    for _ in range(3):
        bench.probed(False)
        bench.wait(5)
    assert bench.signals == [("c", signal.SIGTERM, False), ("c", signal.SIGKILL, True)]


def test_a_container_whose_post_start_hook_fails_is_stopped() -> None:
    bench = Bench(a_pod(a_container(lifecycle={"postStart": {"exec": {"command": ["register"]}}})))
    bench.step()
    assert bench.hooks[0].which == "postStart"
    bench.hooked("exit code 1")
    assert bench.signals == [("c", signal.SIGTERM, False)]
    assert "FailedPostStartHook" in bench.reasons()


# edgecore is back


def test_a_container_that_runs_on_is_not_started_again() -> None:
    bench = Bench(a_pod())
    bench.step()
    again = bench.restarted()
    again.life.adopt([Running(RunId("u1", "c", 0), bench.wall)], False, again.now)
    again.wait(60)
    assert (again.prepares, again.starts) == (0, [])
    assert again.status == bench.status


def test_a_container_that_ended_meanwhile_is_restarted() -> None:
    bench = Bench(a_pod())
    bench.step()
    again = bench.restarted()
    run = Running(RunId("u1", "c", 0), bench.wall, Exit(3, bench.wall + 1))
    again.life.adopt([run], False, again.now)
    again.step()
    assert again.starts == [("c", 1)]
    assert again.last()["terminated"]["exitCode"] == 3


def test_a_container_that_nobody_saw_end_has_a_status_of_its_own() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.step()
    again = bench.restarted()
    again.life.adopt([], True, again.now)
    again.step()
    assert again.state()["terminated"]["reason"] == "ContainerStatusUnknown"
    assert again.status["phase"] == "Failed"
    assert again.starts == []


def test_a_run_that_was_started_just_before_edgecore_was_killed_is_found() -> None:
    bench = Bench(a_pod())
    bench.obliging = False
    bench.step()
    bench.life.prepare_done()
    bench.step()
    again = bench.restarted()
    again.life.adopt([Running(RunId("u1", "c", 0), bench.wall)], False, again.now)
    again.wait(30)
    assert again.starts == []
    assert again.status["phase"] == "Running"


def test_what_ended_for_good_stays_ended_after_a_restart() -> None:
    bench = Bench(a_pod(restartPolicy="Never"))
    bench.step()
    bench.exit("c", 0)
    again = bench.restarted()
    again.life.adopt([], True, again.now)
    again.wait(60)
    assert again.starts == []
    assert again.status == bench.status


def test_a_crash_loop_goes_on_where_it_was() -> None:
    bench = Bench(a_pod())
    bench.step()
    for _ in range(4):
        bench.exit("c", 1)
        bench.wait(0 if bench.state().keys() == {"running"} else 41)
    bench.exit("c", 1)
    assert "waiting" in bench.state()
    again = bench.restarted()
    again.life.adopt([], False, again.now)
    again.step()
    assert again.state() == bench.state()
    assert again.starts == []
    again.wait(85)
    assert again.starts == [("c", bench.life.containers.mains[0].record.attempt + 1)]


def test_after_a_reboot_init_containers_run_again() -> None:
    bench = Bench(a_pod(initContainers=[a_container("i")]))
    bench.step()
    bench.exit("i")
    again = bench.restarted()
    again.life.adopt([], True, again.now)
    again.step()
    assert again.starts == [("i", 1)]
    again.exit("i")
    assert again.starts == [("i", 1), ("c", 1)]
    assert again.prepares == 1


def test_a_pod_that_ended_before_the_node_lost_its_store_is_not_run_again() -> None:
    bench = Bench(a_pod())
    ended = Bench(bench.life.pod.__class__(bench.life.pod.metadata, bench.life.pod.spec, _phase("Succeeded")))
    ended.wait(10)
    assert ended.starts == []
    assert ended.status["phase"] == "Succeeded"


def _phase(phase: str) -> Any:
    return type(a_pod().status)(phase)
