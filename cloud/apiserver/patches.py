"""Patches of JSON documents: merge patch (RFC 7386), JSON patch (RFC 6902), and the choice by media type."""

import copy
from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from cloud.apiserver import status, strategic

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply: no patch, but a configuration."""
OPERATIONS_LIMIT = 10_000
"""Operations of a JSON patch, as kube-apiserver has it."""
COPIED_LIMIT = 3 << 20
"""Bytes that all copies of a JSON patch make together: a list copied into itself doubles with each."""


def check(media_type: str, built_in: bool) -> None:
    """Raise ApiError 415 unless this kind takes patches of this media type."""
    accepted = (JSON, MERGE, STRATEGIC, APPLY) if built_in else (JSON, MERGE, APPLY)
    if media_type not in accepted:
        raise status.unsupported_media_type(accepted)


def apply(media_type: str, document: dict[str, Any], patch: Any, kind: str) -> dict[str, Any]:
    """The document with a patch laid over it; shares parts with both.

    The media type has passed `check` and is not APPLY; `kind` chooses the merge keys of a strategic merge patch.
    Raises ApiError: 400 for a patch of the wrong shape, 422 for a JSON patch that does not apply.
    """
    if media_type == JSON:
        return _json_patch(document, patch)
    if not isinstance(patch, dict):
        raise status.bad_request("error decoding patch: a merge patch must be a JSON object")
    if media_type == STRATEGIC:
        return strategic.merge(document, patch, kind)
    return {**merge(document, patch)}


def merge(document: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge(merged.get(name), value)
        else:
            merged[name] = value
    return merged


def _json_patch(document: dict[str, Any], patch: Any) -> dict[str, Any]:
    if not isinstance(patch, list):
        raise status.bad_request("error decoding patch: a JSON patch must be a JSON array")
    if len(patch) > OPERATIONS_LIMIT:
        why = f"the allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(patch)}"
        raise status.too_large(why)
    try:
        patched = _applied(document, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise status.ApiError(422, "Invalid", message, {}) from error
    if not isinstance(patched, dict):
        raise status.bad_request("error decoding patch: the patch leaves no object")
    return patched


def _applied(document: dict[str, Any], patch: list[Any]) -> Any:
    whole = jsonpatch.JsonPatch(patch)  # refuses operations that are none
    if not any(operation["op"] == "copy" for operation in patch):
        return whole.apply(document)
    patched, left = copy.deepcopy(document), COPIED_LIMIT
    for operation in patch:
        if operation["op"] == "copy":
            left -= _size(patched, operation.get("from"))
            if left < 0:
                raise status.too_large(f"the copies of a JSON patch may make {COPIED_LIMIT} bytes at most")
        patched = jsonpatch.JsonPatch([operation]).apply(patched, in_place=True)
    return patched


def _size(document: Any, pointer: Any) -> int:
    """Bytes of what a pointer names; 0 where it names nothing, which the operation itself will say."""
    try:
        return len(msgspec.json.encode(jsonpointer.resolve_pointer(document, pointer)))
    except (TypeError, jsonpointer.JsonPointerException):
        return 0
