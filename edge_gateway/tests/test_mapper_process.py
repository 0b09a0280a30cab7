"""The mappers' process: started again when it ends, never left behind. Stand-ins for mappers, real processes."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from edge_gateway import mapper_process
from edge_gateway.broker.acl import parse_acl
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.users import full_user
from edge_gateway.builtin_broker import build
from edge_gateway.config import BrokerConfig, EdgeConfig
from edge_gateway.mapper_process import MapperProcess, broker_environment, command
from edge_gateway.store.memory import MemoryStore
from edgewire import config
from edgewire.config import ConfigError

DEADLINE_S = 30.0
NOTES = (
    "import os, pathlib, sys; note = pathlib.Path(sys.argv[1]).open('a'); print(os.getpid(), file=note, flush=True); "
)


@contextlib.asynccontextmanager
async def running(tmp_path: Path, script: str) -> AsyncIterator[Callable[[], list[int]]]:
    """The service with a stand-in; the processes that it started so far."""
    note = tmp_path / "pids"
    note.touch()
    stand_in = [sys.executable, "-c", NOTES + script, str(note)]
    service = MapperProcess(stand_in, lambda: {"HEDGEROW_BROKER_PORT": "1"}, retry_limit_s=0.01)
    task = asyncio.create_task(service.run(asyncio.Event()))
    try:
        yield lambda: [int(line) for line in note.read_text().splitlines()]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (processes tell nobody)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}") from None


async def test_what_ends_is_started_again_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path, "sys.exit(2)") as started:
        await until(lambda: len(started()) >= 3, "it was started three times")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said[0].startswith("= mappers ended status=2 reason='configuration cannot be used' retry_s=0.0")


async def test_it_is_asked_to_end_with_the_gateway(tmp_path: Path) -> None:
    async with running(tmp_path, "import signal; signal.pause()") as started:
        await until(started, "it runs")
        [pid] = started()
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


async def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper_process, "STOP_DEADLINE_S", 0.2)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), file=note, flush=True); "
    async with running(tmp_path, deaf + "[signal.pause() for _ in iter(int, 1)]") as started:
        await until(lambda: len(started()) == 2, "it heeds no signal")
    assert not psutil.pid_exists(started()[0])


async def test_a_program_that_is_not_there_is_no_end_of_the_gateway(caplog: pytest.LogCaptureFixture) -> None:
    task = asyncio.create_task(MapperProcess(["/no/such"], dict, retry_limit_s=0.01).run(asyncio.Event()))
    await until(lambda: len(caplog.records) >= 2, "it is tried again")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert "= mappers ended reason='No such file or directory'" in caplog.text


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")])
def test_mappers_reach_the_broker_where_it_listens(host: str, reached: str) -> None:
    assert broker_environment(host, 1884, "u", "p") == {
        "HEDGEROW_BROKER_HOST": reached,
        "HEDGEROW_BROKER_PORT": "1884",
        "HEDGEROW_BROKER_USER": "u",
        "HEDGEROW_BROKER_PASSWORD": "p",
    }


def test_files_are_the_gateways_and_protocols_are_names() -> None:
    folder = Path("/var/lib/hedgerow")
    words = command(["modbus", "mapper.yaml", "/etc/ble.yaml"], folder)
    assert words[-3:] == ["modbus", "/var/lib/hedgerow/mapper.yaml", "/etc/ble.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mappers": ["modbus", "modbus"]}, "`mappers` names each protocol and each file once"),
        ({"mappers": ["--help"]}, "`mappers` are protocols and files, not options"),
        (
            {"mappers": ["ble"], "broker": {"port": None, "tls": {"certificate": "c", "key": "k"}}},
            "`mappers` need a `broker.port`: they do without TLS",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(content, EdgeConfig, "edgecore.yaml")


@pytest.mark.parametrize("rules", ["topic read nothing", None])
def test_the_gateways_own_user_may_do_all_beside_those_of_the_files(tmp_path: Path, rules: str | None) -> None:
    own = full_user("own", hash_password("p"))
    (tmp_path / "users").write_text(f"else:{hash_password('q')}\n")
    if rules is not None:
        (tmp_path / "acl").write_text(rules)
        parse_acl(rules, "acl")
    settings = BrokerConfig(password_file=Path("users"), acl_file=Path("acl") if rules is not None else None)
    users = build(settings, tmp_path, MemoryStore(), own).core.admission.users
    assert users is not None
    assert users.check("own", b"p") is own
    assert users.for_client(own, "mapper-modbus").may_subscribe("$hw/#")
    assert users.check("else", b"q") is not None


def test_a_user_of_the_gateways_own_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("users: [{name: own, role: full}]")
    with pytest.raises(ConfigError, match="'own' is the gateway's own: give it another name"):
        build(BrokerConfig(users_file=Path("users.yaml")), tmp_path, MemoryStore(), full_user("own", "x"))


def test_no_certificate_makes_one_the_gateways_own_user(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("users: [{name: board, device: default/board}]")
    own = full_user("own", hash_password("p"))
    users = build(BrokerConfig(users_file=Path("users.yaml")), tmp_path, MemoryStore(), own).core.admission.users
    assert users is not None
    assert users.certified("own") is None
    assert users.certified("board") is users.find("board")
