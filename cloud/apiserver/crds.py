"""CustomResourceDefinitions: their rules, and the resource types they define.

A definition is established at once, in the write that creates it: its conditions and accepted names are part of the object
the client gets back.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from cloud.apiserver import field_types, fields, kinds, scale_paths
from cloud.apiserver.formats import format_time
from cloud.apiserver.jsonpath import Path, compile_path
from cloud.apiserver.resources import Registry, Resource
from cloud.apiserver.schema import Schema, SchemaError
from cloud.apiserver.status import Cause
from cloud.apiserver.table import custom_columns
from cloud.apiserver.validations import Validations

Object = dict[str, Any]


def complete(definition: Object, now: datetime) -> None:
    """Fill in defaults, accepted names and the conditions that say it is served."""
    spec = definition.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
        return
    names = spec["names"]
    kind = str(names.get("kind", ""))
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})
    status = definition.get("status")
    status = definition["status"] = dict(status) if isinstance(status, dict) else {}
    stored = [v["name"] for v in _versions(spec) if v.get("storage")]
    status["acceptedNames"] = names
    status["storedVersions"] = list(dict.fromkeys([*(status.get("storedVersions") or ()), *stored]))
    if not status.get("conditions"):
        status["conditions"] = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
        ]


def _condition(type: str, reason: str, message: str, now: datetime) -> Object:
    return {
        "type": type,
        "status": "True",
        "lastTransitionTime": format_time(now),
        "reason": reason,
        "message": message,
    }


def _versions(spec: Object) -> list[Object]:
    found = spec.get("versions")
    return [v for v in found if isinstance(v, dict)] if isinstance(found, list) else []


def validate(definition: Object, old: Object | None, registry: Registry) -> list[Cause]:
    """What keeps a definition from being served."""
    spec = definition.get("spec")
    if not isinstance(spec, dict):
        return [fields.required("spec")]
    names: Object = spec["names"] if isinstance(spec.get("names"), dict) else {}
    causes = [
        fields.required(f"spec.{path}")
        for path, value in (
            ("group", spec.get("group")),
            ("names.plural", names.get("plural")),
            ("names.kind", names.get("kind")),
            ("scope", spec.get("scope")),
            ("versions", _versions(spec)),
        )
        if not value
    ]
    if causes:
        return causes
    wanted = f"{names['plural']}.{spec['group']}"
    if definition["metadata"]["name"] != wanted:
        why = 'must be spec.names.plural+"."+spec.group'
        causes.append(fields.invalid("metadata.name", definition["metadata"]["name"], why))
    if spec["scope"] not in ("Cluster", "Namespaced"):
        causes.append(fields.not_supported("spec.scope", spec["scope"], ["Cluster", "Namespaced"]))
    if registry.taken(spec["group"], names["plural"]):
        causes.append(fields.forbidden("spec.names.plural", "is a built-in resource"))
    return causes + _validate_change(spec, old) + _validate_versions(spec)


def _validate_change(spec: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return []
    before = old["spec"]
    pairs = (
        ("group", spec["group"], before["group"]),
        ("names.plural", spec["names"]["plural"], before["names"]["plural"]),
        ("names.kind", spec["names"]["kind"], before["names"]["kind"]),
        ("scope", spec["scope"], before["scope"]),
    )
    return [fields.invalid(f"spec.{path}", new, "field is immutable") for path, new, was in pairs if new != was]


def _validate_versions(spec: Object) -> list[Cause]:
    causes = []
    versions = _versions(spec)
    if sum(bool(version.get("storage")) for version in versions) != 1:
        causes.append(fields.invalid("spec.versions", [], "must have exactly one version marked as storage version"))
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        if not version.get("name"):
            causes.append(fields.required(f"{path}.name"))
        causes += _validate_schema(
            f"{path}.schema.openAPIV3Schema", (version.get("schema") or {}).get("openAPIV3Schema")
        )
        scale = (version.get("subresources") or {}).get("scale")
        causes += scale_paths.validate(f"{path}.subresources.scale", scale)
        try:
            custom_columns(version.get("additionalPrinterColumns") or ())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            causes.append(fields.invalid(f"{path}.additionalPrinterColumns", "", str(error)))
        try:
            _selectable(version)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            causes.append(fields.invalid(f"{path}.selectableFields", "", str(error)))
    return causes


def _validate_schema(path: str, schema: Any) -> list[Cause]:
    if not isinstance(schema, dict):
        return [fields.required(path, "schemas are required")]
    if schema.get("type") != "object":
        return [fields.invalid(f"{path}.type", schema.get("type", ""), "must be object at the root")]
    try:
        Schema(schema)
        Validations(schema)
    except SchemaError as error:
        return [fields.invalid(f"{path}{error.path}", error.value, error.why)]
    except (KeyError, TypeError, AttributeError) as error:
        return [fields.invalid(path, "", f"cannot be read: {error}")]
    return []


def _selectable(version: Object) -> Mapping[str, Path]:
    paths = [field["jsonPath"] for field in version.get("selectableFields") or ()]
    return MappingProxyType({path.removeprefix("."): compile_path(path) for path in paths})


def resources_of(definition: Object) -> tuple[Resource, ...]:
    """The resource types that a valid definition serves, one a version."""
    spec = definition["spec"]
    storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
    return tuple(_resource(spec, version, storage) for version in spec["versions"] if version.get("served"))


def _resource(spec: Object, version: Object, storage_version: str) -> Resource:
    names = spec["names"]
    openapi = version["schema"]["openAPIV3Schema"]
    subresources = {name: value for name, value in (version.get("subresources") or {}).items() if value is not None}
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular", ""),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(name for name in ("status", "scale") if name in subresources),
        scale=scale_paths.of_definition(subresources.get("scale")),
        columns=custom_columns(version.get("additionalPrinterColumns") or ()),
        fields=_selectable(version),
        rules=kinds.CUSTOM,
        custom=True,
        schema=Schema(openapi),
        validations=Validations(openapi),
        types=field_types.of_schema(openapi),
        openapi=openapi,
        storage_version=storage_version,
    )


def warnings(definition: Object) -> list[str]:
    """What a valid definition asks for and does not get here."""
    found = []
    for index, version in enumerate(_versions(definition["spec"])):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        found += [path + warning for warning in Validations(version["schema"]["openAPIV3Schema"]).warnings]
    return found


def defined(definition: Object) -> tuple[str, str]:
    """(group, plural) of what a definition defines."""
    return definition["spec"]["group"], definition["spec"]["names"]["plural"]


def storage_of(definition: Object) -> str:
    """The storage name of its objects, which is also the definition's name."""
    group, plural = defined(definition)
    return f"{plural}.{group}"
