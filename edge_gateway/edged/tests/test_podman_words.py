"""What podman is told of a pod: command lines."""

from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.image_names import full_name
from edge_gateway.edged.podman_images import pull_policy
from edge_gateway.edged.podman_words import Names, environment, pod_create, refusals, run
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.runtime import Mount, RunId, StartOrder
from edge_gateway.edged.tests.bench import a_container, a_pod

NAMES = Names("edge1-abc")


def words_of(pod: Pod, *devices: str, **more: Any) -> str:
    container = pod.spec.containers[0]
    command = (*container.command, *container.args)
    order = StartOrder(RunId("u1", "c", 0), pod, container, command, more.pop("env", {}), log=Path("/log"), **more)
    return " ".join(run(order, NAMES, "sha", "boot", set(devices))[0])


def test_what_containers_share_has_the_pods_name_and_ports() -> None:
    ports = [
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
    ]
    words = " ".join(pod_create(a_pod(a_container(ports=ports)), NAMES))
    assert "--name edge1-abc_u1 --infra" in words
    assert "--share net,ipc,uts" in words
    assert words.endswith("--hostname web --publish 8080:80/tcp --publish 127.0.0.1:53:53/udp")


def test_on_the_machines_network_there_is_nothing_to_publish() -> None:
    words = pod_create(a_pod(a_container(ports=[{"containerPort": 80, "hostPort": 80}]), hostNetwork=True), NAMES)
    assert words[-2:] == ["--network", "host"]


def test_no_value_of_a_variable_is_on_the_command_line_but_those_that_podman_would_read_itself() -> None:
    line, by_name = environment({"TOKEN": "secret", "PATH": "/bin", "https_proxy": "http://p", "A*": "x"})
    assert line == ["TOKEN", "PATH=/bin", "https_proxy=http://p", "A*=x"]
    assert by_name == {"TOKEN": "secret"}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"command": ["a", "b"], "args": ["-c"]}, '--entrypoint ["a", "b"] sha -c'),
        ({"command": None, "args": ["-c"]}, "4096 sha -c"),
        ({"command": None}, "4096 sha"),
        ({"workingDir": "/w"}, "--workdir /w"),
        ({"resources": {"limits": {"memory": "64Mi"}}}, "--memory 67108864 --memory-swap 67108864"),
        ({"resources": {"limits": {"cpu": "500m"}}}, "--cpu-period 100000 --cpu-quota 50000"),
        ({"resources": {"requests": {"cpu": "250m"}}}, "--cpu-shares 256"),
        ({"securityContext": {"privileged": True}}, "--privileged"),
        ({"securityContext": {"runAsUser": 5, "runAsGroup": 6}}, "--user 5:6"),
        ({"securityContext": {"runAsUser": 5}}, "--user 5 --"),
        ({"securityContext": {"capabilities": {"drop": ["ALL"]}}}, "--cap-drop ALL"),
        ({"securityContext": {"capabilities": {"add": ["CAP_NET_ADMIN"]}}}, "--cap-add NET_ADMIN"),
        ({"securityContext": {"readOnlyRootFilesystem": True}}, "--read-only --read-only-tmpfs=false"),
        ({"securityContext": {"allowPrivilegeEscalation": False}}, "--security-opt no-new-privileges"),
    ],
)  # fmt: skip
def test_a_container_becomes_words(container: dict[str, Any], words: str) -> None:
    assert words in words_of(a_pod(a_container(**container)))


def test_mounts_and_devices() -> None:
    mounts = (Mount(Path("/a"), "/b", True), Mount(Path("/dev/ttyUSB0"), "/dev/ttyS0"), Mount(Path("/by:id"), "/c"))
    words = words_of(a_pod(), "/dev/ttyUSB0", mounts=mounts, groups=(20,))
    assert "--volume /a:/b:ro --device /dev/ttyUSB0:/dev/ttyS0:rwm --mount type=bind,source=/by:id,target=/c" in words
    assert "--group-add 20" in words


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ({"image": ""}, "it has no `image`"),
        ({"securityContext": {"runAsGroup": 5}}, "runAsGroup without runAsUser"),
        ({"securityContext": {"runAsUser": 0, "runAsNonRoot": True}}, "runAsNonRoot"),
    ],
)
def test_what_podman_cannot_give_is_refused(container: dict[str, Any], why: str) -> None:
    [said] = refusals(a_pod(a_container(**container)))
    assert why in said


@pytest.mark.parametrize(
    ("image", "policy", "full"),
    [
        ("busybox", "Always", "docker.io/library/busybox:latest"),
        ("busybox:1", "IfNotPresent", "docker.io/library/busybox:1"),
        ("me/app:latest", "Always", "docker.io/me/app:latest"),
        ("localhost/app:1", "IfNotPresent", "localhost/app:1"),
        ("registry:5000/app", "Always", "registry:5000/app:latest"),
        ("quay.io/app@sha256:00", "IfNotPresent", "quay.io/app@sha256:00"),
    ],
)
def test_an_image_has_a_registry_a_tag_and_a_policy(image: str, policy: str, full: str) -> None:
    container = a_pod(a_container(image=image)).spec.containers[0]
    assert (pull_policy(container), full_name(image)) == (policy, full)
