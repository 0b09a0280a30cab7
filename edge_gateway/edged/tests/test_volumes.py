"""Volumes on disk: files that change all at once, and what is refused."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.pods import Pod
from edge_gateway.edged.tests.bench import FACTS, a_container, a_pod
from edge_gateway.edged.volumes import VolumeError, Volumes
from edgewire.resource import Resource


class Desk:
    """Volumes of a node, and the ConfigMaps and Secrets it has."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.folder = folder
        self.volumes = Volumes(folder / "disk", folder / "memory", FACTS, self._content)

    def _content(self, name: Resource) -> bytes | None:
        found = self.objects.get(f"{name.type}/{name.name}")
        return json.dumps(found).encode() if found is not None else None

    def pod(self, volume: dict[str, Any], mount: dict[str, Any] | None = None, **spec: Any) -> Pod:
        mounts = [{"name": "v", "mountPath": "/v", **(mount or {})}]
        return a_pod(a_container(volumeMounts=mounts), volumes=[{"name": "v", **volume}], **spec)

    def source(self, pod: Pod, env: dict[str, str] | None = None) -> Path:
        """Where the container's mount comes from."""
        [mount] = self.volumes.mounts(pod, pod.spec.containers[0], env or {})
        return mount.source

    def made(self, volume: dict[str, Any], **more: Any) -> Path:
        pod = self.pod(volume, **more)
        self.volumes.prepare(pod)
        return self.source(pod)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


CONFIG = {"configMap": {"name": "settings"}}


def test_an_empty_dir_is_for_everybody_and_keeps_what_is_in_it(desk: Desk) -> None:
    folder = desk.made({"emptyDir": {}})
    assert folder.is_relative_to(desk.folder / "disk" / "u1")
    assert mode(folder) == 0o777
    (folder / "kept").touch()
    assert (desk.made({"emptyDir": {}}) / "kept").exists()
    assert desk.volumes.uids() == {"u1"}
    desk.volumes.remove("u1")
    assert not folder.exists()


def test_an_empty_dir_of_memory_is_in_memory(desk: Desk) -> None:
    assert desk.made({"emptyDir": {"medium": "Memory"}}).is_relative_to(desk.folder / "memory")


def test_a_config_map_is_files_and_a_secret_is_in_memory(desk: Desk) -> None:
    binary = base64.b64encode(b"\x00\xff").decode()
    desk.objects["configmap/settings"] = {"data": {"level": "info"}, "binaryData": {"image": binary}}
    desk.objects["secret/password"] = {"data": {"word": base64.b64encode(b"hunter2").decode()}}
    folder = desk.made(CONFIG)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == {"level": b"info", "image": b"\x00\xff"}
    secret = desk.made({"secret": {"secretName": "password", "defaultMode": 0o400}})
    assert secret.is_relative_to(desk.folder / "memory")
    assert (secret / "word").read_text() == "hunter2"
    assert mode(secret / "word") == 0o400


def test_files_change_all_at_once(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1", "b": "1", "gone": "x"}}
    folder = desk.made(CONFIG)
    before = (folder / "..data").resolve()
    with (folder / "a").open() as opened:
        desk.objects["configmap/settings"] = {"data": {"a": "2", "b": "2", "new": "x"}}
        desk.made(CONFIG)
        assert opened.read() == "1"
    assert (folder / "..data").resolve() != before
    assert not before.exists()
    assert {f.name: f.read_text() for f in folder.iterdir() if f.is_file()} == {"a": "2", "b": "2", "new": "x"}
    assert all(f.is_symlink() for f in folder.iterdir() if not f.name.startswith(".."))


def test_files_that_are_the_same_are_left_alone(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    folder = desk.made(CONFIG)
    before = (folder / "..data").resolve()
    desk.made(CONFIG)
    assert (folder / "..data").resolve() == before


def test_keys_become_the_files_that_are_asked_for(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1", "b": "2"}}
    items = [{"key": "a", "path": "deep/er/file", "mode": 0o600}]
    folder = desk.made({"configMap": {"name": "settings", "items": items}})
    assert (folder / "deep/er/file").read_text() == "1"
    assert mode(folder / "deep/er/file") == 0o600
    assert not (folder / "b").exists()


def test_several_sources_are_one_folder(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    sources = [
        {"configMap": {"name": "settings"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"secret": {"name": "none", "optional": True}},
    ]
    folder = desk.made({"projected": {"sources": sources}})
    assert (folder / "a").read_text() == "1"
    assert (folder / "labels").read_text() == 'app="web"'


def test_the_volume_that_a_cluster_adds_comes_without_its_token(desk: Desk) -> None:
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volume = {"name": "kube-api-access-x", "projected": {"sources": sources}}
    mounts = [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    pod = a_pod(a_container(volumeMounts=mounts), volumes=[volume])
    desk.volumes.prepare(pod)
    assert [f.name for f in desk.source(pod).iterdir() if f.is_file()] == ["namespace"]


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        (CONFIG, 'failed for volume "v" : configmap "settings" not found'),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found'),
        ({"configMap": {"name": "there", "items": [{"key": "x", "path": "x"}]}}, "non-existent configmap key: x"),
        ({"configMap": {"name": "there", "items": [{"key": "a", "path": "../up"}]}}, "must lead into the volume"),
        ({"configMap": {"name": "there", "items": [{"key": "a", "path": "/etc/passwd"}]}}, "must lead into the volume"),
        ({"configMap": {"name": "there", "items": [{"key": "a", "path": "..data"}]}}, "must lead into the volume"),
        ({"hostPath": {"path": "/no/where", "type": "Directory"}}, "/no/where does not exist"),
        ({"hostPath": {"path": "/etc", "type": "File"}}, "/etc is not a File"),
        ({"hostPath": {"path": "/etc", "type": "CharDevice"}}, "/etc is not a CharDevice"),
        ({"hostPath": {"path": "/etc", "type": "Nonsense"}}, "no type 'Nonsense'"),
    ],
)
def test_a_volume_that_cannot_be_made_says_why(desk: Desk, volume: dict[str, Any], why: str) -> None:
    desk.objects["configmap/there"] = {"data": {"a": "1"}}
    with pytest.raises(VolumeError, match=why.replace("(", r"\(")):
        desk.volumes.prepare(desk.pod(volume))


def test_what_is_optional_may_be_missing(desk: Desk) -> None:
    folder = desk.made({"configMap": {"name": "settings", "optional": True}})
    assert [f.name for f in folder.iterdir() if f.is_file()] == []


def test_a_disk_that_cannot_be_written_to_is_named(desk: Desk) -> None:
    (desk.folder / "disk").write_text("a file where a folder should be")
    with pytest.raises(VolumeError, match=r'volume "v" : (Not a directory|File exists)'):
        desk.volumes.prepare(desk.pod({"emptyDir": {}}))


def test_host_paths_stay_where_they_are_and_are_made_when_asked(desk: Desk) -> None:
    path = desk.folder / "host" / "data"
    assert desk.made({"hostPath": {"path": str(path), "type": "DirectoryOrCreate"}}) == path
    assert path.is_dir()


def test_a_part_of_a_volume_is_mounted(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    assert desk.made(CONFIG, mount={"subPath": "a"}).read_text() == "1"
    assert desk.made({"emptyDir": {}}, mount={"subPath": "new/folder"}).is_dir()
    pod = desk.pod({"emptyDir": {}}, mount={"subPathExpr": "of-$(NAME)"})
    desk.volumes.prepare(pod)
    assert desk.source(pod, {"NAME": "web"}).name == "of-web"


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b"])
def test_no_part_of_a_volume_is_outside_of_it(desk: Desk, path: str) -> None:
    pod = desk.pod({"emptyDir": {}}, mount={"subPath": path})
    desk.volumes.prepare(pod)
    with pytest.raises(VolumeError, match="must lead into the volume"):
        desk.source(pod)


def test_a_key_that_is_not_there_cannot_be_mounted_alone(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    pod = desk.pod(CONFIG, mount={"subPath": "b"})
    desk.volumes.prepare(pod)
    with pytest.raises(VolumeError, match="volume 'v' has no 'b'"):
        desk.source(pod)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_volumes_belong_to_the_group_that_a_pod_asks_for(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    group = {"securityContext": {"fsGroup": 1234}}
    assert (desk.made(CONFIG, **group) / "a").stat().st_gid == 1234
    folder = desk.made({"emptyDir": {}}, **group)
    assert folder.stat().st_gid == 1234
    assert mode(folder) == 0o2777


@pytest.mark.parametrize("volume", [{"emptyDir": {}}, CONFIG], ids=["emptyDir", "configMap"])
def test_a_link_that_a_container_made_leads_no_mount_out_of_its_volume(desk: Desk, volume: dict[str, Any]) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    (desk.folder / "private").mkdir()
    folder = desk.made(volume)
    (folder / "way").symlink_to(desk.folder / "private")
    (folder / "circle").symlink_to("circle")
    for within in ("way", "way/new", "circle"):
        pod = desk.pod(volume, {"subPath": within})
        with pytest.raises(VolumeError):
            desk.source(pod)
    assert list((desk.folder / "private").iterdir()) == []


def test_a_link_within_a_volume_is_followed(desk: Desk) -> None:
    folder = desk.made({"emptyDir": {}})
    (folder / "real").mkdir()
    (folder / "way").symlink_to("real")
    assert desk.source(desk.pod({"emptyDir": {}}, {"subPath": "way"})) == folder / "real"


def test_a_path_with_a_zero_byte_is_an_error_of_the_volume(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    with pytest.raises(VolumeError, match="must lead into"):
        desk.made({"configMap": {"name": "settings", "items": [{"key": "a", "path": "b\0c"}]}})


def test_nobody_else_looks_into_the_folder_of_all_volumes(desk: Desk) -> None:
    (desk.folder / "memory").mkdir()
    (desk.folder / "memory").chmod(0o777)  # made by somebody before
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    desk.made(CONFIG)
    assert mode(desk.folder / "memory") == 0o700


def test_a_folder_that_leads_elsewhere_is_not_written_to(desk: Desk) -> None:
    (desk.folder / "elsewhere").mkdir()
    (desk.folder / "memory").symlink_to("elsewhere")
    desk.objects["configmap/settings"] = {"data": {"a": "1"}}
    with pytest.raises(VolumeError, match="own folder"):
        desk.made(CONFIG)
    assert list((desk.folder / "elsewhere").iterdir()) == []


def test_one_config_map_fills_no_memory_however_often_it_is_named(desk: Desk) -> None:
    desk.objects["configmap/settings"] = {"data": {"a": "x" * 1_000_000}}
    items = [{"key": "a", "path": f"f{number}"} for number in range(20)]
    with pytest.raises(VolumeError, match="more than 16777216 bytes"):
        desk.made({"configMap": {"name": "settings", "items": items}})
    assert not list((desk.folder / "memory").rglob("f*"))
