"""`hedgerow backup`, `restore` and `kubeconfig`: the real command beside the real embedded API."""

import io
import itertools
import json
import sqlite3
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud import certificates
from cloud.apiserver import credentials
from cloud.apiserver.tests.conftest import DEFINITIONS, DEVICES, MANIFESTS, eventually
from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.process import ServerProcess
from hedgerow import backup
from hedgerow.ownership import owned
from hedgerow.tests.running import COMMAND

MAPS = "/api/v1/namespaces/default/configmaps"


def hedgerow(*arguments: str | Path) -> tuple[int, str]:
    """Run the command: its exit status and all it said."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack's folder, with the certificates of the link."""
    folder = tmp_path / "stack"
    certificates.ensure_node(folder / "cloud" / "pki", "gw")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    """Its embedded API, running."""
    server = ServerProcess(folder / "kubernetes")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def create(api: Api, name: str) -> int:
    created = api.post(MAPS, {"metadata": {"name": name}, "data": {"of": name}}).ok()
    return int(created["metadata"]["resourceVersion"])


def names(api: Api) -> list[str]:
    return [item["metadata"]["name"] for item in api.get(MAPS).ok()["items"]]


def test_a_backup_taken_under_load_is_one_state_and_comes_back_elsewhere(
    server: ServerProcess, folder: Path, tmp_path: Path
) -> None:
    written: list[int] = []
    stop = threading.Event()

    def write() -> None:
        api = Api(server.kubeconfig)
        while not stop.is_set():
            written.append(create(api, f"n{len(written):06d}"))
        api.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        eventually(lambda: len(written) > 20, "some writes")
        before = len(written)
        code, said = hedgerow("backup", tmp_path / "b.tgz", "--data", folder)
        assert code == 0, said
        eventually(lambda: len(written) > before + 20, "writes after the backup began")
    finally:
        stop.set()
        writer.join()
    assert stat.S_IMODE((tmp_path / "b.tgz").stat().st_mode) == 0o600

    copy = tmp_path / "copy"
    code, said = hedgerow("restore", tmp_path / "b.tgz", "--data", copy)
    assert code == 0, said
    assert "now resourceVersion" in said
    assert credentials_of(folder) == credentials_of(copy)
    for path in (*(copy / "kubernetes").rglob("*"), *(copy / "cloud" / "pki").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    restored = ServerProcess(copy / "kubernetes")
    restored.start()
    try:
        api = Api(restored.kubeconfig)
        found = names(api)
        # What was written before the backup is there, and of what came later a beginning without a gap.
        assert len(found) >= before
        assert found == [f"n{number:06d}" for number in range(len(found))]
        items = api.get(MAPS).ok()["items"]
        assert min(int(item["metadata"]["resourceVersion"]) for item in items) > max(written)
        with api.watch(MAPS, resourceVersion=str(max(written))) as watching:
            assert watching.code == 410
        assert create(api, "later") > max(written)
        api.close()
    finally:
        restored.stop()


def credentials_of(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same after a restore."""
    kept = ["kubernetes/tokens.yaml", "kubernetes/pki/ca.crt", "kubernetes/pki/ca.key", "cloud/pki/ca.key"]
    kept += ["cloud/pki/ca.crt", "cloud/pki/nodes/gw.crt", "cloud/pki/nodes/gw.key"]
    return {name: (folder / name).read_bytes() for name in kept}


def test_a_restore_lifts_the_generation_of_what_counts_it(server: ServerProcess, folder: Path, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    for path in MANIFESTS.glob("devices.kubeedge.io_*.yaml"):
        api.post(DEFINITIONS, yaml.safe_load(path.read_text())).ok()
    devices = f"{DEVICES}/namespaces/default/devices"
    made = api.post(devices, device("s1")).ok()
    backup.make(folder, tmp_path / "b.tgz")
    # A node may have stored this: the same object at the next generation, with another spec.
    edited = api.patch(f"{devices}/s1", {"spec": {"nodeName": "elsewhere"}}).ok()
    api.close()
    server.stop()
    backup.restore(folder, tmp_path / "b.tgz", force=True)
    server.start()
    api = Api(server.kubeconfig)
    restored = api.get(f"{devices}/s1").ok()
    assert restored["metadata"]["generation"] > edited["metadata"]["generation"]
    for volatile in ("generation", "resourceVersion"):
        restored["metadata"].pop(volatile)
        made["metadata"].pop(volatile)
    assert restored == made
    again = api.patch(f"{devices}/s1", {"spec": {"nodeName": "third"}}).ok()
    assert again["metadata"]["generation"] > edited["metadata"]["generation"]
    api.close()


def test_nothing_is_restored_while_something_runs(server: ServerProcess, folder: Path, tmp_path: Path) -> None:
    backup.make(folder, tmp_path / "b.tgz")
    code, said = hedgerow("restore", tmp_path / "b.tgz", "--data", folder, "--force")
    assert (code, "a server runs in" in said) == (1, True), said
    server.stop()
    with owned(folder):
        code, said = hedgerow("restore", tmp_path / "b.tgz", "--data", folder, "--force")
    assert (code, "another `hedgerow up`" in said) == (1, True), said


def test_data_are_replaced_only_by_force_and_then_wholly(server: ServerProcess, folder: Path, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    create(api, "kept")
    backup.make(folder, tmp_path / "b.tgz")
    newest = create(api, "later")
    api.close()
    server.stop()
    code, said = hedgerow("restore", tmp_path / "b.tgz", "--data", folder)
    assert (code, "would be lost: give --force" in said) == (1, True), said
    code, said = hedgerow("restore", tmp_path / "b.tgz", "--data", folder, "--force")
    assert code == 0, said
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    server.start()
    api = Api(server.kubeconfig)
    assert names(api) == ["kept"]
    assert create(api, "later") > newest
    api.close()


def test_a_backup_is_also_made_and_put_back_at_rest_and_again(
    server: ServerProcess, folder: Path, tmp_path: Path
) -> None:
    api = Api(server.kubeconfig)
    create(api, "kept")
    api.close()
    server.kill()
    first = backup.make(folder, tmp_path / "b.tgz")
    _, once = backup.restore(folder, tmp_path / "b.tgz", force=True)
    _, twice = backup.restore(folder, tmp_path / "b.tgz", force=True)
    assert first.revision < once.revision < twice.revision
    assert first.objects == once.objects == twice.objects


def test_no_backup_is_made_of_nothing(tmp_path: Path) -> None:
    code, said = hedgerow("backup", tmp_path / "b.tgz", "--data", tmp_path / "none")
    assert (code, "there is no embedded Kubernetes API here" in said) == (1, True), said
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def good(server: ServerProcess, folder: Path, tmp_path: Path) -> Path:
    """A good backup, and nothing running."""
    backup.make(folder, tmp_path / "good.tgz")
    server.stop()
    return tmp_path / "good.tgz"


def rewritten(file: Path, changes: dict[str, bytes]) -> Path:
    """The same backup with other content in some files, or with more of them."""
    target = file.with_name("changed.tgz")
    with tarfile.open(file) as source, tarfile.open(target, "w:gz") as out:
        contents: dict[str, Any] = {}
        for member in source:
            found = source.extractfile(member)
            assert found is not None
            contents[member.name] = found.read()
        for name, content in (contents | changes).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return target


def refused(file: Path, folder: Path) -> str:
    """Why a backup is not restored, even by force; the data stay as they were."""
    before = (folder / "kubernetes" / "objects.db").read_bytes()
    with pytest.raises(backup.BackupError) as caught:
        backup.restore(folder, file, force=True)
    assert (folder / "kubernetes" / "objects.db").read_bytes() == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return str(caught.value)


def test_a_backup_is_whole_whatever_is_written_meanwhile(good: Path, folder: Path, tmp_path: Path) -> None:
    # Packing the database takes long enough for another file to be another one when its turn comes.
    with closing(sqlite3.connect(folder / "kubernetes" / "objects.db")) as opened, opened:
        opened.execute("CREATE TABLE large AS SELECT randomblob(4000000)")
    stop = threading.Event()

    def rewrite() -> None:
        names = (f"user-{number}" for number in itertools.count())
        while not stop.is_set():
            credentials.make_token(folder / "kubernetes", next(names), "viewer")

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        made = [tmp_path / f"b{number}.tgz" for number in range(2)]
        for file in made:
            backup.make(folder, file)
    finally:
        stop.set()
        writer.join()
    for file in made:
        backup.restore(tmp_path / "copy", file, force=True)


def test_what_cannot_be_exchanged_wholly_is_not_exchanged_at_all(good: Path, folder: Path, tmp_path: Path) -> None:
    # The link's folder goes first, and the other cannot: it is a disk of its own.
    other = tmp_path / "other"
    certificates.ensure_node(other / "cloud" / "pki", "gw")
    (other / "kubernetes").mkdir()
    authority = (other / "cloud" / "pki" / "ca.key").read_bytes()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(other / "kubernetes")], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount a disk")
    try:
        with pytest.raises(backup.BackupError, match="nothing restored"):
            backup.restore(other, good, force=True)
        assert (other / "cloud" / "pki" / "ca.key").read_bytes() == authority
        assert [path.name for path in other.iterdir() if path.name.startswith(".")] == []
    finally:
        subprocess.run(["umount", str(other / "kubernetes")], check=True)


def test_a_damaged_backup_changes_nothing(good: Path, folder: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(content[: len(content) // 2])
    assert "cannot be read" in refused(cut, folder)
    cut.write_bytes(b"no archive")
    assert "cannot be read" in refused(cut, folder)
    middle = len(content) // 2
    cut.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    refused(cut, folder)
    assert "is damaged" in refused(rewritten(good, {"kubernetes/tokens.yaml": b"[]"}), folder)


def test_a_backup_with_foreign_files_or_of_another_format_changes_nothing(good: Path, folder: Path) -> None:
    for name in ("../escaped", "/tmp/escaped", "kubernetes/../../escaped", "edge/store.db"):
        assert "does not belong there" in refused(rewritten(good, {name: b"x"}), folder)
    with tarfile.open(good) as archive:
        head = archive.extractfile(backup.MANIFEST)
        assert head is not None
        manifest = json.load(head)
    newer = json.dumps(manifest | {"format": 2}).encode()
    assert "has format 2" in refused(rewritten(good, {backup.MANIFEST: newer}), folder)
    hostile = json.dumps(manifest | {"files": manifest["files"] | {"../escaped": "00"}}).encode()
    assert "does not belong there" in refused(rewritten(good, {backup.MANIFEST: hostile, "../escaped": b"x"}), folder)


def test_a_database_of_a_newer_format_is_not_restored(good: Path, folder: Path, tmp_path: Path) -> None:
    database = tmp_path / "stack" / "kubernetes" / "objects.db"
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    with pytest.raises(backup.BackupError, match="has format 2"):
        backup.make(folder, tmp_path / "newer.tgz")


# --- kubeconfig


@pytest.mark.parametrize("token", [False, True])
def test_a_viewers_kubeconfig_reads_and_does_not_write(
    server: ServerProcess, folder: Path, tmp_path: Path, token: bool
) -> None:
    file = tmp_path / "eva.yaml"
    more = ["--token"] if token else []
    code, said = hedgerow("kubeconfig", "eva", "--role", "viewer", "--data", folder, "-o", file, *more)
    assert code == 0, said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ("token" in yaml.safe_load(file.read_text())["users"][0]["user"]) is token
    api = Api(file)
    assert names(api) == []
    api.post(MAPS, {"metadata": {"name": "x"}}).failed(403, "Forbidden")
    api.close()


def test_a_nodes_kubeconfig_is_for_that_node(server: ServerProcess, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "gw.yaml"
    code, printed = hedgerow("kubeconfig", "gw", "--role", "node", "--data", folder)
    assert code == 0
    file.write_text(printed)
    api = Api(file)
    api.post("/api/v1/nodes", {"metadata": {"name": "gw"}}).ok()
    api.post("/api/v1/nodes", {"metadata": {"name": "other"}}).failed(403, "Forbidden")
    api.close()


def test_no_kubeconfig_is_made_for_what_is_not_there(tmp_path: Path) -> None:
    code, said = hedgerow("kubeconfig", "eva", "--data", tmp_path)
    assert (code, "no embedded Kubernetes API has run" in said) == (1, True), said
    assert hedgerow("kubeconfig", "eva", "--role", "king")[0] == 2
