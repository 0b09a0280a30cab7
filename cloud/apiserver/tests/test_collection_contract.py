"""Owners, dependents and namespaces as any cluster's control plane treats them; see `test_contract` for how to run it on one."""

import secrets
from pathlib import Path
from typing import Any

from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.process import ServerProcess


def owned(name: str, *owners: Any, block: bool = False, **meta: Any) -> dict[str, Any]:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, **meta}}


def gone(api: Api, path: str) -> None:
    eventually(lambda: api.get(path).code == 404, f"the end of {path}")


def test_dependents_go_with_their_owner(api: Api, maps: str) -> None:
    owner = api.post(maps, owned("owner")).ok()
    child = api.post(maps, owned("child", owner)).ok()
    api.post(maps, owned("grandchild", child)).ok()
    assert api.delete(f"{maps}/owner").ok()["status"] == "Success"
    gone(api, f"{maps}/grandchild")
    gone(api, f"{maps}/child")


def test_orphans_stay_without_their_owner(api: Api, maps: str) -> None:
    owner = api.post(maps, owned("owner")).ok()
    api.post(maps, owned("child", owner)).ok()
    api.delete(f"{maps}/owner", {"propagationPolicy": "Orphan"}).ok()
    gone(api, f"{maps}/owner")
    assert "ownerReferences" not in api.get(f"{maps}/child").ok()["metadata"]


def test_an_owner_waits_in_the_foreground_for_a_dependent_that_blocks_it(api: Api, maps: str) -> None:
    owner = api.post(maps, owned("owner")).ok()
    api.post(maps, owned("child", owner, block=True, finalizers=["test.example/hold"])).ok()
    answer = api.delete(f"{maps}/owner", {"propagationPolicy": "Foreground"}).ok()
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert answer["metadata"]["deletionTimestamp"]

    def child_goes() -> bool:
        return "deletionTimestamp" in api.get(f"{maps}/child").ok()["metadata"]

    eventually(child_goes, "the deletion of the dependent")
    assert api.get(f"{maps}/owner").code == 200
    api.patch(f"{maps}/child", {"metadata": {"finalizers": None}}).ok()
    gone(api, f"{maps}/owner")


def test_one_owner_of_two_is_enough(api: Api, maps: str) -> None:
    one, two = api.post(maps, owned("one")).ok(), api.post(maps, owned("two")).ok()
    api.post(maps, owned("child", one, two)).ok()
    api.delete(f"{maps}/one").ok()

    def left() -> bool:
        owners = api.get(f"{maps}/child").ok()["metadata"]["ownerReferences"]
        return [owner["name"] for owner in owners] == ["two"]

    eventually(left, "the reference to the owner that went")


def test_a_dependent_of_nobody_is_collected(api: Api, maps: str) -> None:
    never = {"metadata": {"name": "never", "uid": "00000000-0000-0000-0000-000000000000"}}
    api.post(maps, owned("child", never)).ok()
    gone(api, f"{maps}/child")


def test_one_owner_at_most_is_the_controller(api: Api, maps: str) -> None:
    one, two = api.post(maps, owned("one")).ok(), api.post(maps, owned("two")).ok()
    child = owned("child", one, two)
    for reference in child["metadata"]["ownerReferences"]:
        reference["controller"] = True
    failed = api.post(maps, child).failed(422, "Invalid")
    assert "Only one reference can have Controller set to true" in failed["message"]


def test_an_unknown_policy_is_invalid(api: Api, maps: str) -> None:
    api.post(maps, owned("kept")).ok()
    failed = api.delete(f"{maps}/kept", {"propagationPolicy": "Sideways"}).failed(422, "Invalid")
    assert 'propagationPolicy: Unsupported value: "Sideways"' in failed["message"]
    both = {"propagationPolicy": "Orphan", "orphanDependents": True}
    api.delete(f"{maps}/kept", both).failed(422, "Invalid")
    assert api.get(f"{maps}/kept").code == 200


def test_a_namespace_says_what_it_waits_for_and_goes_with_it(api: Api) -> None:
    name = f"contract-{secrets.token_hex(4)}"
    path = f"/api/v1/namespaces/{name}"
    api.post("/api/v1/namespaces", {"metadata": {"name": name}}).ok()
    api.post(f"{path}/configmaps", {"metadata": {"name": "held", "finalizers": ["test.example/hold"]}}).ok()
    api.post(f"{path}/secrets", {"metadata": {"name": "free"}}).ok()
    try:
        api.delete(path).ok()

        def waits() -> Any:
            found = api.get(path).ok()["status"]
            conditions = {c["type"]: c for c in found.get("conditions") or ()}
            return conditions if "NamespaceFinalizersRemaining" in conditions else None

        conditions = eventually(waits, "the conditions of the namespace")
        assert api.get(path).ok()["status"]["phase"] == "Terminating"
        assert conditions["NamespaceContentRemaining"]["status"] == "True"
        assert "configmaps. has 1 resource instances" in conditions["NamespaceContentRemaining"]["message"]
        assert "test.example/hold in 1 resource instances" in conditions["NamespaceFinalizersRemaining"]["message"]
        assert conditions["NamespaceDeletionContentFailure"]["status"] == "False"
        gone(api, f"{path}/secrets/free")
        api.post(f"{path}/secrets", {"metadata": {"name": "late"}}).failed(403, "Forbidden")
    finally:
        api.patch(f"{path}/configmaps/held", {"metadata": {"finalizers": None}})
    gone(api, path)


def test_a_namespace_keeps_finalizers_of_its_spec_until_they_are_taken_off(api: Api) -> None:
    name = f"contract-{secrets.token_hex(4)}"
    path = f"/api/v1/namespaces/{name}"
    made = api.post("/api/v1/namespaces", {"metadata": {"name": name}, "spec": {"finalizers": ["test.example/a"]}}).ok()
    assert sorted(made["spec"]["finalizers"]) == ["kubernetes", "test.example/a"]
    api.delete(path).ok()
    eventually(lambda: api.get(path).ok()["spec"].get("finalizers") == ["test.example/a"], "the content's end")
    left = api.get(path).ok()
    left["spec"]["finalizers"] = []
    api.put(f"{path}/finalize", left).ok()
    gone(api, path)


def test_collection_goes_on_after_a_kill(tmp_path: Path, embedded: None) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        api = Api(server.kubeconfig)
        maps = "/api/v1/namespaces/default/configmaps"
        owner = api.post(maps, owned("owner")).ok()
        for number in range(200):
            api.post(maps, owned(f"child-{number}", owner)).ok()
        api.delete(f"{maps}/owner").ok()
        server.kill()
        api.close()
        server.start()
        api = Api(server.kubeconfig)
        eventually(lambda: api.get(maps).ok()["items"] == [], "the end of all dependents")
        api.close()
    finally:
        server.kill()
