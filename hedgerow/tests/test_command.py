"""`hedgerow get` and `hedgerow set`: the real executable against a running stack, and against none."""

import asyncio
import os
import pty
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edge_gateway.broker.passwords import verify_password
from edgewire import board, topics
from hedgerow.cluster import Cluster
from hedgerow.tests.running import COMMAND, RUNNING, up
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import counter, counter_model

NODE = "edge-1"


@dataclass
class Answer:
    """What a command did."""

    status: int
    out: str
    complaint: str

    @property
    def only_complaint(self) -> str:
        """Its one line on stderr."""
        (line,) = self.complaint.splitlines()
        return line


def hedgerow(*arguments: str | Path, cwd: Path | None = None, kubeconfig: Path | None = None) -> Answer:
    """Run the command with no KUBECONFIG but this."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    if kubeconfig is not None:
        environment["KUBECONFIG"] = str(kubeconfig)
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30, env=environment, cwd=cwd
    )
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running stack with two counters, of which `one` has reported 41."""
    folder = tmp_path_factory.mktemp("stack") / "data"
    with up("--data", folder) as running:
        running.wait_for(RUNNING)
        mqtt = int(running.said.split("MQTT 127.0.0.1:")[1].split()[0])
        asyncio.run(_two_counters(folder / "kubeconfig", mqtt))
        yield folder


async def _two_counters(kubeconfig: Path, mqtt_port: int) -> None:
    model = counter_model()
    model["spec"]["properties"].append({"name": "limit", "type": "INT", "accessMode": "ReadOnly", "unit": "l"})
    model["spec"]["properties"][0].update(minimum="0", maximum="100")
    async with Cluster(kubeconfig) as cluster:
        await cluster.apply([model, counter("one"), counter("two")])
        await asyncio.to_thread(_report_until_taken, mqtt_port)
        await cluster.wait_reported("default/one", "count", "41", 20)


def _report_until_taken(port: int) -> None:
    topic = topics.of_device("default/one", topics.UPDATE)
    result = topics.of_device("default/one", topics.RESULT)
    with MqttClient(port) as mqtt:
        mqtt.subscribe(result)
        for _ in range(100):  # until the node knows the device
            mqtt.publish(topic, board.report({"count": ("41", 0)}))
            if board.refusal(mqtt.next(result)) is None:
                return
    raise AssertionError("the gateway does not take the report")


def test_get_shows_every_device(data: Path) -> None:
    answer = hedgerow("get", "--data", data)
    header, one, limit, two, _ = answer.out.splitlines()
    assert answer.status == 0
    assert header.split() == ["DEVICE", "PROPERTY", "REPORTED", "DESIRED", "AGE", "STATE"]
    assert one.split()[:3] == ["default/one", "count", "41"]
    assert one.split()[-1] == "online"
    assert limit.split() == ["limit", "-"]
    assert two.split() == ["default/two", "count", "-", "no", "report", "yet"]


def test_whoever_reads_a_pipe_gets_whole_lines(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    [header, *_] = hedgerow("get", "--data", data).out.splitlines()
    assert header.split() == ["DEVICE", "PROPERTY", "REPORTED", "DESIRED", "AGE", "STATE"]


def test_get_shows_one_device_with_or_without_its_namespace(data: Path) -> None:
    for name in ("one", "default/one"):
        answer = hedgerow("get", name, "--data", data)
        assert (answer.status, len(answer.out.splitlines())) == (0, 3)
        assert "default/one" in answer.out
        assert "default/two" not in answer.out


def test_the_kubeconfig_comes_from_the_option_or_the_environment_or_the_folder(data: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("nonsense")
    (tmp_path / ".hedgerow").symlink_to(data)
    kubeconfig = data / "kubeconfig"
    assert "default/one" in hedgerow("get", cwd=tmp_path).out
    assert "default/one" in hedgerow("get", "--data", tmp_path / "none", kubeconfig=kubeconfig).out
    assert "default/one" in hedgerow("get", "--kubeconfig", kubeconfig, kubeconfig=wrong).out
    assert hedgerow("get", kubeconfig=wrong, cwd=tmp_path).status == 1


def test_kubeconfig_may_name_several_files(data: Path, tmp_path: Path) -> None:
    several = Path(f"{tmp_path / 'none'}{os.pathsep}{data / 'kubeconfig'}")
    assert "default/one" in hedgerow("get", kubeconfig=several).out


def test_set_changes_what_is_desired(data: Path) -> None:
    answer = hedgerow("set", "one/count", "42", "--data", data)
    assert (answer.status, answer.out) == (0, "default/one/count desired 42\n")
    row = next(line for line in hedgerow("get", "one", "--data", data).out.splitlines() if "count" in line)
    assert row.split()[2:4] == ["41", "42"]


def test_set_waits_until_the_device_reports_it(data: Path) -> None:
    answer = hedgerow("set", "default/one/count", "41.0", "--wait", "20", "--data", data)
    assert answer.status == 1  # an INT has no point
    answer = hedgerow("set", "default/one/count", "41", "--wait", "20", "--data", data)
    assert (answer.status, answer.out) == (0, "default/one/count desired 41, reported\n")


def test_set_says_what_a_device_that_does_not_follow_reports_instead(data: Path) -> None:
    answer = hedgerow("set", "one/count", "7", "--wait", "0.5", "--data", data)
    assert (answer.status, answer.out) == (1, "")
    assert answer.only_complaint == "hedgerow: default/one/count reports 41 after 0.5 s, not 7"
    answer = hedgerow("set", "two/count", "7", "--wait", "0.5", "--data", data)
    assert answer.only_complaint == "hedgerow: default/two/count reports nothing after 0.5 s, not 7"


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["get", "three"], 1, 'cannot read device default/three: devices.devices.kubeedge.io "three" not found'),
        (["set", "elsewhere/one/count", "1"], 1, "cannot read device elsewhere/one: "),
        (["set", "one/speed", "1"], 1, "device default/one has no property speed; it has count, limit"),
        (["set", "one/count", "many"], 1, "cannot set count of default/one to 'many': "),
        (["set", "one/count", "101"], 1, "cannot set count of default/one to '101': "),
        (["set", "one/limit", "1"], 1, "cannot set limit of default/one to '1': the property is ReadOnly"),
        (["set", "one", "1"], 2, "'one' is not [NAMESPACE/]DEVICE/PROPERTY"),
        (["set", "one/", "1"], 2, "'one/' is not [NAMESPACE/]DEVICE/PROPERTY"),
        (["set", "a/b/one/count", "1"], 2, "'a/b/one' is no device: "),
        (["get", "../../nodes"], 2, "'../../nodes' is no device: "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_status(
    data: Path, arguments: list[str], status: int, complaint: str
) -> None:
    answer = hedgerow(*arguments, "--data", data)
    assert (answer.status, answer.out) == (status, "")
    assert answer.only_complaint.startswith(f"hedgerow: {complaint}")


def test_a_second_stack_in_the_same_folder_is_refused_and_harms_nothing(data: Path) -> None:
    answer = hedgerow("up", "--data", data)
    owner = (data / "lock").read_text().strip()
    assert answer.status == 1
    assert answer.only_complaint == f"hedgerow: another `hedgerow up` (process {owner}) runs in {data}: give --data"
    assert psutil.Process(int(owner)).is_running()
    assert hedgerow("get", "--data", data).status == 0


def test_without_a_kubeconfig_it_says_where_it_looked(tmp_path: Path) -> None:
    for arguments in (["get"], ["set", "one/count", "1"]):
        answer = hedgerow(*arguments, "--data", tmp_path)
        assert answer.status == 2
        assert answer.only_complaint == (
            f"hedgerow: no kubeconfig at {tmp_path}/kubeconfig: is `hedgerow up` running? Else give --kubeconfig"
        )


def test_an_api_that_does_not_answer_is_one_line(data: Path, tmp_path: Path) -> None:
    stale = tmp_path / "kubeconfig"
    served = next(line for line in (data / "kubeconfig").read_text().splitlines() if "server:" in line).split()[-1]
    stale.write_text((data / "kubeconfig").read_text().replace(served, "https://127.0.0.1:9"))
    for arguments in (["get"], ["set", "one/count", "1"], ["set", "one/count", "1", "--wait", "5"]):
        answer = hedgerow(*arguments, kubeconfig=stale)
        assert answer.status == 1
        assert "Cannot connect to host 127.0.0.1:9" in answer.only_complaint


def test_a_kubeconfig_that_is_none_is_one_line(tmp_path: Path) -> None:
    for content in ("nonsense", ": {", ""):
        (tmp_path / "kubeconfig").write_text(content)
        answer = hedgerow("get", "--data", tmp_path)
        assert answer.status == 1
        assert f"{tmp_path}/kubeconfig" in answer.only_complaint


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--once"], 2, "--once is the demo's tour: give --demo too"),
        (["--kubeconfig", "/no/such/file"], 2, "no kubeconfig at /no/such/file"),
        (["--data", "/proc/nowhere"], 1, "cannot use the folder /proc/nowhere: "),
    ],
)
def test_up_refuses_what_it_cannot_do(tmp_path: Path, arguments: list[str], status: int, complaint: str) -> None:
    answer = hedgerow("up", *arguments, cwd=tmp_path)
    assert answer.status == status
    assert answer.only_complaint.startswith(f"hedgerow: {complaint}")
    assert list(tmp_path.iterdir()) == []


def test_password_hashes_a_line_of_input_for_either_users_file() -> None:
    for arguments, before in (([], ""), (["--mosquitto", "s1"], "s1:")):
        done = subprocess.run(
            [*COMMAND, "password", *arguments], input="p:w $1\n", capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0
        (line,) = done.stdout.splitlines()
        assert line.startswith(before)
        assert verify_password(b"p:w $1", line.removeprefix(before))


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [([], ""), ([], "\n"), (["--mosquitto", "a:b"], "secret\n"), (["--mosquitto", "a\nb"], "x\n")],
)
def test_password_refuses_what_cannot_be_one(arguments: list[str], typed: str) -> None:
    done = subprocess.run([*COMMAND, "password", *arguments], input=typed, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_password_is_asked_twice_on_a_terminal_and_not_shown() -> None:
    ours, terminal = pty.openpty()
    try:
        with subprocess.Popen([*COMMAND, "password"], stdin=terminal, stdout=subprocess.PIPE, stderr=terminal) as asked:
            seen = b""
            for answer in (b"secret\n", b"Secret\n", b"secret\n", b"secret\n"):
                while not seen.endswith(b": "):
                    seen += os.read(ours, 1000)
                os.write(ours, answer)
                seen += b"|"
            hashed, _ = asked.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(terminal)
    assert verify_password(b"secret", hashed.decode().strip())
    assert b"secret" not in seen.lower()
