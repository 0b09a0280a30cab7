"""Users' files of the built-in broker that change while it runs: noticed by themselves, and never for the worse."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.packets import Publish
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.tests.brokers import BuiltIn, Raw, until
from edge_gateway.broker.watch import FileWatch

HASHES = {name: hash_password(name) for name in ("boss", "s1", "s2")}
TOPICS = "$hw/events/device/default/"


def write(folder: Path, text: str | None = None, **users: str) -> None:
    """A users' file with these users: rights by name; the password is the name."""
    entries = [{"name": name, "password": HASHES[name], **json.loads(rights)} for name, rights in users.items()]
    draft = folder / "users.draft"
    draft.write_text(json.dumps({"users": entries}) if text is None else text)
    draft.replace(folder / "users.yaml")  # as careful editors do


BOSS = '{"role": "full"}'
S1, S2 = '{"device": "default/s1"}', '{"device": "default/s2"}'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BuiltIn]:
    write(tmp_path, boss=BOSS, s1=S1, s2=S2)
    process = BuiltIn(tmp_path, settings={"users_file": "users.yaml"})
    try:
        process.start()
        yield process
    finally:
        process.stop()


def connected(broker: BuiltIn, name: str, clean: bool = True) -> Raw:
    return Raw(broker).connect(name, user=name, password=name.encode(), clean=clean)


def test_a_changed_file_is_noticed_without_being_told(broker: BuiltIn) -> None:
    with connected(broker, "boss") as boss, connected(broker, "s1") as s1, connected(broker, "s2") as s2:
        boss.subscribe("t", "gone")
        s2.subscribe(f"{TOPICS}s2/#")
        write(broker.folder, boss=BOSS, s2='{"device": "default/s1"}')
        s1.wait_closed()
        until(lambda: "subscriptions dropped client='s2' user=s2" in broker.log(), "the old subscription is gone")
        boss.publish(f"{TOPICS}s2/twin/update/delta", b"no more")
        assert s2.subscribe(f"{TOPICS}s2/#", f"{TOPICS}s1/#") == b"\x80\x01"
        boss.publish(f"{TOPICS}s1/twin/update/delta", b"its own")
        assert s2.next(Publish).payload == b"its own"


@pytest.mark.parametrize("broken", ["users: [{nam: boss}]", None])
def test_a_broken_file_changes_nothing_and_is_complained_of_once(broker: BuiltIn, broken: str | None) -> None:
    with connected(broker, "boss") as boss, connected(broker, "s1") as s1:
        boss.subscribe("t", f"{TOPICS}#")
        if broken is None:
            (broker.folder / "users.yaml").unlink()
        else:
            write(broker.folder, broken)
        until(lambda: "not read again" in broker.log(), "the broken file is complained of")
        s1.publish(f"{TOPICS}s1/twin/update", b"still here")
        assert boss.next(Publish).payload == b"still here"
        with connected(broker, "s2"):
            pass
        looked_again = time.monotonic() + 2.5
        until(lambda: time.monotonic() > looked_again, "it looked at the file again")
        assert broker.log().count("not read again") == 1
        write(broker.folder, boss=BOSS)
        s1.wait_closed()


def test_an_offline_session_goes_with_its_user_and_another_keeps_what_it_may_have(broker: BuiltIn) -> None:
    for name in ("s1", "s2"):
        with connected(broker, name, clean=False) as client:
            client.subscribe(f"{TOPICS}{name}/#")
    with connected(broker, "boss") as boss:
        boss.subscribe("t")
        write(broker.folder, boss=BOSS, s2=S2)
        until(lambda: "session dropped, its user is gone client='s1'" in broker.log(), "the session is gone")
        for name in ("s1", "s2"):
            boss.publish(f"{TOPICS}{name}/x", b"x")
    write(broker.folder, boss=BOSS, s1=S1, s2=S2)
    broker.reload()
    until(lambda: broker.log().count("read again files=") == 2, "both users are there again")
    with connected(broker, "s1", clean=False) as s1, connected(broker, "s2", clean=False) as s2:
        assert (s1.session_present, s2.session_present) == (False, True)
        assert s2.next(Publish).topic == f"{TOPICS}s2/x"


def test_a_file_is_read_again_when_only_its_owner_or_mode_changed(tmp_path: Path) -> None:
    file = tmp_path / "server.key"
    file.write_text("key")
    file.chmod(0o600)
    used: list[str] = []
    watch = FileWatch([file], file.read_text, used.append)
    before = file.stat().st_ctime_ns

    def changed() -> bool:
        file.chmod(0o640)  # now the broker's user may read it
        return file.stat().st_ctime_ns != before

    until(changed, "the clock of the file system goes on")
    watch.look()
    watch.look()
    assert used == ["key"]
