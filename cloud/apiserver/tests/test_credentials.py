"""Who is let in, by which credential, and what the real server and kubectl make of it."""

import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud import certificates
from cloud.apiserver import identity, pki
from cloud.apiserver.credentials import FILE, Credentials, certified, ensure_admin, make_token
from cloud.apiserver.roles import User, user_of
from cloud.apiserver.storage import StorageError
from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.process import ServerProcess

MAPS = "/api/v1/namespaces/default/configmaps"
REVIEWS = "/apis/authorization.k8s.io/v1"


def write(folder: Path, text: str, mode: int = 0o600) -> None:
    (folder / FILE).unlink(missing_ok=True)
    (folder / FILE).touch(mode)
    (folder / FILE).write_text(text)


def test_tokens_stand_for_their_users(tmp_path: Path) -> None:
    admin = ensure_admin(tmp_path)
    edge = make_token(tmp_path, "edge-1", "node")
    assert ensure_admin(tmp_path) == admin
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    known = Credentials(tmp_path)
    assert known.user(f"Bearer {admin}", None) == User("admin", ("system:masters",))
    assert known.user(f"bearer {edge}", None) == User("system:node:edge-1", ("system:nodes",))
    for wrong in ("", "Bearer", "Bearer ", f"Basic {admin}", admin, f"Bearer {admin}x", "Bearer \udcff"):
        assert known.user(wrong, None) is None, wrong


def test_a_line_taken_out_is_a_user_locked_out(tmp_path: Path) -> None:
    write(
        tmp_path, "[{name: a, role: admin, token: aaaaaaaaaaaaaaaa}, {name: b, role: viewer, token: bbbbbbbbbbbbbbbb}]"
    )
    known = Credentials(tmp_path)
    assert known.user("Bearer bbbbbbbbbbbbbbbb", None) == user_of("viewer", "b")
    write(tmp_path, "[{name: a, role: admin, token: aaaaaaaaaaaaaaaa}]")
    assert known.user("Bearer bbbbbbbbbbbbbbbb", None) is None
    write(tmp_path, "no list at all")
    assert known.user("Bearer aaaaaaaaaaaaaaaa", None) == user_of("admin", "a")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[{name: a, role: king, token: aaaaaaaaaaaaaaaa}]", "king"),
        ("[{name: a, role: admin, token: short}]", "fewer than 16"),
        (
            "[{name: a, role: admin, token: aaaaaaaaaaaaaaaa}, {name: b, role: admin, token: aaaaaaaaaaaaaaaa}]",
            "another",
        ),
        ("[{name: a, role: admin, token: aaaaaaaaaaaaaaaa, uid: 1}]", "uid"),
        ("[", "cannot be read"),
    ],
)
def test_a_file_that_says_nonsense_is_refused(tmp_path: Path, text: str, why: str) -> None:
    write(tmp_path, text)
    with pytest.raises(StorageError, match=why):
        Credentials(tmp_path)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "[{name: a, role: admin, token: aaaaaaaaaaaaaaaa}]", 0o640)
    with pytest.raises(StorageError, match="chmod 600"):
        Credentials(tmp_path)


def test_a_certificate_names_user_and_groups_and_goes_before_a_token(tmp_path: Path) -> None:
    subject = ((("organizationName", "g"),), (("organizationName", "h"),), (("commonName", "eva"),))
    assert certified({"subject": subject}) == User("eva", ("g", "h"))
    assert certified({"subject": subject[:1]}) is None
    admin = ensure_admin(tmp_path)
    assert Credentials(tmp_path).user(f"Bearer {admin}", {"subject": subject}) == User("eva", ("g", "h"))


def test_a_user_of_several_roles_has_the_strongest_and_a_node_needs_its_name() -> None:
    assert User("a", ("hedgerow:viewers", "system:masters")).role == "admin"
    assert User("system:node:gw", ("hedgerow:viewers", "system:nodes")).role == "node"
    assert User("gw", ("system:nodes",)).role == ""
    assert User("system:node:", ("system:nodes",)).role == ""
    assert User("gw", ("system:nodes", "hedgerow:viewers")).role == "viewer"


# --- the server


Login = Callable[[str, identity.ClientCertificate | str], Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("access")
    edge = folder / "edge"
    certificates.ensure_ca(edge)
    server = ServerProcess(folder / "data", options=("--client-ca", str(edge / "ca.crt")))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def admin(server: ServerProcess) -> Iterator[Api]:
    api = Api(server.kubeconfig)
    api.post("/api/v1/nodes", {"metadata": {"name": "gw"}}).ok()
    yield api
    api.close()


@pytest.fixture
def login(server: ServerProcess, admin: Api, tmp_path: Path) -> Login:
    """Write a kubeconfig for a user with a credential."""

    def written(name: str, credential: identity.ClientCertificate | str) -> Path:
        cluster = yaml.safe_load(server.kubeconfig.read_text())["clusters"][0]["cluster"]
        ca = (server.data / "pki" / "ca.crt").read_bytes()
        path = tmp_path / f"{name}.yaml"
        identity.write_private(path, identity.kubeconfig(cluster["server"], ca, name, credential))
        return path

    return written


@pytest.fixture
def viewer(server: ServerProcess, login: Login) -> Iterator[Api]:
    api = Api(login("eva", pki.issue_client(server.data, "eva", ["hedgerow:viewers"])))
    yield api
    api.close()


def can(api: Api, **asked: Any) -> bool:
    review = {"spec": {"resourceAttributes": asked}}
    return bool(api.post(f"{REVIEWS}/selfsubjectaccessreviews", review).ok()["status"]["allowed"])


def test_a_viewers_certificate_lets_him_read_but_neither_write_nor_see_secrets(viewer: Api) -> None:
    viewer.get(MAPS).ok()
    viewer.get("/api/v1/secrets").failed(403, "Forbidden")
    refused = viewer.post(MAPS, {"metadata": {"name": "x"}}).failed(403, "Forbidden")
    assert refused["message"] == (
        'configmaps is forbidden: User "eva" cannot create resource "configmaps" in API group "" in the namespace "default"'
    )
    assert refused["details"] == {"kind": "configmaps"}
    assert viewer.patch("/api/v1/nodes/gw", {}).failed(403, "Forbidden")["details"] == {"name": "gw", "kind": "nodes"}


def test_a_nodes_certificate_of_the_links_ca_lets_it_in(server: ServerProcess, login: Login) -> None:
    edge = certificates.ensure_node(server.data.parent / "edge", "gw")
    api = Api(login("gw", identity.ClientCertificate(edge.certificate.read_bytes(), edge.key.read_bytes())))
    api.get("/api/v1/nodes/gw").ok()
    api.patch("/api/v1/nodes/gw/status", {"status": {"phase": "Running"}}).ok()
    refused = api.patch("/api/v1/nodes/gw", {"metadata": {"labels": {"k8s.io/a": "b"}}}).failed(403, "Forbidden")
    assert refused["message"] == 'nodes "gw" is forbidden: node "gw" is not allowed to modify labels: k8s.io/a'
    api.post("/api/v1/nodes", {"metadata": {"name": "other"}}).failed(403, "Forbidden")
    api.get(MAPS).failed(403, "Forbidden")
    api.close()


def test_a_certificate_of_another_authority_is_not_let_in(tmp_path: Path, login: Login) -> None:
    identity.ensure(tmp_path)
    api = Api(login("mallory", pki.issue_client(tmp_path, "mallory", ["system:masters"])))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        api.get(MAPS)
    api.close()


def test_a_servers_certificate_is_no_clients(server: ServerProcess, login: Login) -> None:
    folder = server.data / "pki"
    shown = identity.ClientCertificate((folder / "server.crt").read_bytes(), (folder / "server.key").read_bytes())
    api = Api(login("server", shown))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        api.get(MAPS)
    api.close()


def test_a_certificate_without_a_role_is_known_and_may_nothing(server: ServerProcess, login: Login) -> None:
    api = Api(login("guest", pki.issue_client(server.data, "guest", ["strangers"])))
    api.get(MAPS).failed(403, "Forbidden")
    review = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).ok()
    assert review["status"]["userInfo"] == {"username": "guest", "groups": ["strangers", "system:authenticated"]}
    api.close()


def test_a_token_works_at_once_and_no_longer_when_it_is_gone(server: ServerProcess, login: Login) -> None:
    before = (server.data / FILE).read_bytes()
    api = Api(login("eva", make_token(server.data, "eva", "viewer")))
    api.get(MAPS).ok()
    api.post(MAPS, {"metadata": {"name": "x"}}).failed(403, "Forbidden")
    identity.write_private(server.data / FILE, before)
    api.get(MAPS).failed(401, "Unauthorized")
    api.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default%2Fsecrets",
        "/api/v1/%73ecrets",
        "//api/v1/secrets",
        "/api/v1//secrets",
        "/api//v1/secrets",
        "/api/v1/secrets/",
        "/api/v1/Secrets",
        "/api/v1/pods/../secrets",
        "/api/v1/pods/%2e%2e/secrets",
        "/apis//v1/secrets",
        "/api/v1/watch/secrets",
        "/api/v1/pods;/../secrets",
        "/api/v1/secrets?watch=true&timeoutSeconds=1",
    ],
)
def test_no_way_of_writing_a_path_shows_a_viewer_secrets(viewer: Api, path: str) -> None:
    answer = viewer.get(path)
    assert answer.code in (400, 403, 404), answer.body
    assert answer.body["kind"] == "Status"


def test_access_reviews_tell_the_truth(admin: Api, viewer: Api) -> None:
    assert can(admin, verb="*", group="*", resource="*")
    assert not can(viewer, verb="*", group="*", resource="*")
    assert can(viewer, verb="list", resource="pods", namespace="default")
    assert not can(viewer, verb="delete", resource="pods", namespace="default")
    assert not can(viewer, verb="get", resource="*")
    asked = {"verb": "get", "resource": "nodes", "name": "gw"}
    for name, allowed in (("gw", True), ("other", False)):
        spec = {"user": "system:node:gw", "groups": ["system:nodes"], "resourceAttributes": asked | {"name": name}}
        status = admin.post(f"{REVIEWS}/subjectaccessreviews", {"spec": spec}).ok()["status"]
        assert status["allowed"] is allowed
    viewer.post(f"{REVIEWS}/subjectaccessreviews", {"spec": spec}).failed(403, "Forbidden")
    admin.post(f"{REVIEWS}/subjectaccessreviews", {"spec": {"resourceAttributes": asked}}).failed(422, "Invalid")
    admin.post(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {}}).failed(422, "Invalid")
    admin.post(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": 1}}).failed(400, "BadRequest")


def test_an_admin_may_ask_as_another_and_nobody_else_may(admin: Api, viewer: Api) -> None:
    as_viewer = {"Impersonate-User": "otto", "Impersonate-Group": "hedgerow:viewers"}
    admin.get(MAPS, headers=as_viewer).ok()
    refused = admin.delete(f"{MAPS}/x", headers=as_viewer).failed(403, "Forbidden")
    assert 'User "otto" cannot delete' in refused["message"]
    refused = viewer.get(MAPS, headers={"Impersonate-User": "admin"}).failed(403, "Forbidden")
    said = 'User "eva" cannot impersonate resource "users" in API group "" at the cluster scope'
    assert refused["message"] == f'users "admin" is forbidden: {said}'
    for header in ("Impersonate-Group", "Impersonate-Uid", "impersonate-extra-scope"):
        admin.get(MAPS, headers={header: "hedgerow:viewers"}).failed(400, "BadRequest")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_knows_what_a_viewer_may(server: ServerProcess, login: Login, tmp_path: Path) -> None:
    kubeconfig = login("eva", pki.issue_client(server.data, "eva", ["hedgerow:viewers"]))

    def kubectl(*arguments: str) -> tuple[int, str]:
        command = ["kubectl", "--kubeconfig", str(kubeconfig), "--cache-dir", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    assert kubectl("auth", "can-i", "get", "pods") == (0, "yes\n")
    assert kubectl("auth", "can-i", "create", "pods") == (1, "no\n")
    assert kubectl("auth", "can-i", "get", "secrets") == (1, "no\n")
    assert kubectl("auth", "can-i", "get", "/version") == (0, "yes\n")
    assert kubectl("auth", "can-i", "get", "leases.coordination.k8s.io/a", "-n", "x") == (0, "yes\n")
    assert kubectl("auth", "can-i", "get", "pods/a", "--subresource=exec", "-n", "x") == (1, "no\n")
    code, listed = kubectl("auth", "can-i", "--list")
    assert code == 0
    assert "[get list watch]" in listed
    assert "secrets" not in listed
    code, who = kubectl("auth", "whoami")
    assert (code, "eva" in who, "[hedgerow:viewers system:authenticated]" in who) == (0, True, True)
    code, refused = kubectl("get", "secrets")
    assert code == 1
    assert refused == (
        'Error from server (Forbidden): secrets is forbidden: User "eva" cannot list resource "secrets" in API group "" '
        'in the namespace "default"\n'
    )
    assert kubectl("get", "nodes", "-o", "name") == (0, "node/gw\n")


def test_a_change_of_the_tokens_that_cannot_be_read_locks_nobody_out(server: ServerProcess, admin: Api) -> None:
    before = (server.data / FILE).read_bytes()
    try:
        identity.write_private(server.data / FILE, b"[")
        admin.get(MAPS).ok()
        eventually(lambda: "tokens left as they were" in server.log.read_text(), "a line of the log")
    finally:
        identity.write_private(server.data / FILE, before)
    admin.get(MAPS).ok()
