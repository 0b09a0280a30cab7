"""Protobuf bodies, as kubectl writes them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.apiserver import protobuf
from cloud.apiserver.status import ApiError


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def envelope(kind: bytes, raw: bytes, version: bytes = b"v1") -> bytes:
    return b"k8s\x00" + field(1, field(1, version) + field(2, kind)) + field(2, raw) + field(3, b"") + field(4, b"")


def entry(key: bytes, value: bytes) -> bytes:
    return field(1, key) + field(2, value)


def test_a_config_map_is_read() -> None:
    meta = (
        field(1, b"a")
        + field(3, b"default")
        + field(8, b"")
        + field(11, entry(b"l", b"1"))
        + field(11, entry(b"m", b""))
    )
    raw = (
        field(1, meta)
        + field(2, entry(b"k", "vö".encode()))
        + field(2, entry(b"x", b"y"))
        + field(3, entry(b"b", b"\x00\x01"))
    )
    assert protobuf.decode(envelope(b"ConfigMap", raw + field(4, 1))) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "namespace": "default",
            "creationTimestamp": None,
            "labels": {"l": "1", "m": ""},
        },
        "data": {"k": "vö", "x": "y"},
        "binaryData": {"b": "AAE="},
        "immutable": True,
    }


def test_delete_options_are_read() -> None:
    raw = field(1, 0) + field(2, field(1, b"uid")) + field(4, b"Background") + field(5, b"All")
    found = protobuf.decode(envelope(b"DeleteOptions", raw))
    assert found["gracePeriodSeconds"] == 0
    assert found["preconditions"] == {"uid": "uid"}
    assert found["dryRun"] == ["All"]


def test_times_are_read_as_rfc_3339() -> None:
    raw = field(1, field(1, b"n") + field(9, field(1, 1_700_000_000)))
    assert protobuf.decode(envelope(b"Namespace", raw))["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:20Z"


def test_a_kind_that_is_not_known_is_an_unsupported_media_type() -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode(envelope(b"Job", b""))
    assert caught.value.code == 415


def deployment(container: bytes) -> bytes:
    """As `kubectl create deployment` writes it, with what it says of nothing."""
    template = field(1, field(11, entry(b"app", b"web"))) + field(2, field(2, container) + field(3, b"") + field(11, 0))
    labels = field(1, entry(b"app", b"web"))
    spec = field(1, 2) + field(2, labels) + field(3, template) + field(4, field(1, b"")) + field(5, 0)
    return envelope(b"Deployment", field(1, field(1, b"web")) + field(2, spec) + field(3, field(1, 0)), b"apps/v1")


def test_a_deployment_is_read_as_far_as_kubectl_makes_one() -> None:
    container = field(1, b"c") + field(2, b"nginx") + field(6, field(3, 80)) + field(8, b"") + field(13, b"")
    found = protobuf.decode(deployment(container))
    assert (found["apiVersion"], found["metadata"], found["spec"]["replicas"]) == ("apps/v1", {"name": "web"}, 2)
    assert found["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    [read] = found["spec"]["template"]["spec"]["containers"]
    assert read == {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}


def test_of_a_deployment_nothing_is_passed_over() -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode(deployment(field(1, b"c") + field(9, field(1, b"volume"))))
    assert caught.value.code == 415


@pytest.mark.parametrize("body", [b"", b"k8s", b"{}", b"k8s\x00\x0a", b"k8s\x00\x0a\xff", b"k8s\x00" + b"\xff" * 20])
def test_a_body_that_is_no_message_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode(body)
    assert caught.value.code in (400, 415)


@given(st.binary(max_size=60))
def test_no_bytes_do_worse_than_a_refusal(raw: bytes) -> None:
    for body in (b"k8s\x00" + raw, envelope(b"ConfigMap", raw), envelope(b"Namespace", field(1, raw))):
        with suppress(ApiError):
            assert isinstance(protobuf.decode(body), dict)
