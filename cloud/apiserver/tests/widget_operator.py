"""A small operator as users of kopf write them: each Widget gets a ConfigMap that says how large it is.

`kopf run` runs it; the tests start that. `spec.size` and `status` are the Widget's; the timer counts in `status.beats`.
"""

from typing import Any

import kopf
import kubernetes.client
import kubernetes.config

GROUP, VERSION, PLURAL = "test.example", "v1", "kopfwidgets"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    kubernetes.config.load_kube_config()  # type: ignore[no-untyped-call]
    settings.watching.server_timeout = 60


@kopf.on.create(GROUP, VERSION, PLURAL)
def created(
    name: str, namespace: str | None, spec: kopf.Spec, patch: kopf.Patch, body: kopf.Body, **_: Any
) -> dict[str, str]:
    assert namespace is not None
    content: dict[str, Any] = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
    kopf.adopt(content, owner=body)
    _core().create_namespaced_config_map(namespace, content)
    patch.status["phase"] = "Made"
    kopf.info(body, reason="Made", message=f"of size {spec['size']}")
    return {"configMap": name}


@kopf.on.update(GROUP, VERSION, PLURAL, field="spec.size")
def resized(name: str, namespace: str | None, old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    assert namespace is not None
    _core().patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})
    patch.status["phase"] = f"Resized from {old}"


@kopf.on.delete(GROUP, VERSION, PLURAL)
def deleted(name: str, namespace: str | None, **_: Any) -> None:
    assert namespace is not None
    _core().delete_namespaced_config_map(name, namespace)


@kopf.timer(GROUP, VERSION, PLURAL, interval=0.2)
def beat(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["beats"] = status.get("beats", 0) + 1


def _core() -> Any:
    return kubernetes.client.CoreV1Api()
