"""Paths, parameters and media types."""

import pytest

from cloud.apiserver import requests
from cloud.apiserver.render import Form
from cloud.apiserver.requests import Target
from cloud.apiserver.resources import Registry
from cloud.apiserver.status import ApiError

PODS = Registry().find("", "v1", "pods")
assert PODS is not None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "pods")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/n", Target("", "v1", "namespaces", "", "n")),
        ("/api/v1/namespaces/n/status", Target("", "v1", "namespaces", "", "n", "status")),
        ("/api/v1/namespaces/n/pods", Target("", "v1", "pods", "n")),
        ("/api/v1/namespaces/n/pods/p", Target("", "v1", "pods", "n", "p")),
        ("/api/v1/namespaces/n/pods/p/status", Target("", "v1", "pods", "n", "p", "status")),
        ("/api/v1/nodes/n/status", Target("", "v1", "nodes", "", "n", "status")),
        ("/apis/g.x/v1/namespaces/n/status", Target("g.x", "v1", "status", "n")),
        ("/apis/g.x/v1/things/t", Target("g.x", "v1", "things", "", "t")),
        ("/api/v1", None),
        ("/apis/g.x/v1", None),
        ("/healthz", None),
        ("/api/v1/namespaces/n/pods/p/a/b", None),
        ("/api/v1/namespaces/n/pods//x", None),
    ],
)
def test_a_path_names_a_target(path: str, target: Target | None) -> None:
    assert requests.parse_path(path) == target


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form("v1")),
        ("*/*", Form("v1")),
        ("application/json, */*", Form("v1")),
        ("application/vnd.kubernetes.protobuf,application/json", Form("v1")),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form("v1", "Table", "Metadata")),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Form("v1")),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form("v1", "PartialObjectMetadata", "")),
    ],
)
def test_the_first_form_that_both_know_is_taken(accept: str, form: Form) -> None:
    assert PODS is not None
    assert requests.form(accept, PODS, {}) == form


@pytest.mark.parametrize(("kind", "many"), [("PartialObjectMetadata", True), ("PartialObjectMetadataList", False)])
def test_a_form_for_one_does_not_fit_many_though_another_behind_it_would(kind: str, many: bool) -> None:
    assert PODS is not None
    accept = f"application/json;as={kind};g=meta.k8s.io;v=v1,application/json"
    with pytest.raises(ApiError) as caught:
        requests.form(accept, PODS, {}, many)
    assert caught.value.code == 406
    assert requests.form(accept, PODS, {}, not many).shape == "PartialObjectMetadata"


def test_a_client_that_reads_nothing_known_is_told() -> None:
    assert PODS is not None
    with pytest.raises(ApiError) as caught:
        requests.form("application/vnd.kubernetes.protobuf", PODS, {})
    assert caught.value.code == 406


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "x"},
        {"limit": "-1"},
        {"limit": "9" * 5000},
        {"limit": str(1 << 63)},
        {"resourceVersionMatch": "Sometimes"},
        {"fieldSelector": "spec.no=1"},
        {"labelSelector": "a in b"},
    ],
)
def test_list_parameters_that_make_no_sense_are_a_bad_request(query: dict[str, str]) -> None:
    assert PODS is not None
    with pytest.raises(ApiError) as caught:
        requests.list_options(PODS, query)
    assert caught.value.code == 400


@pytest.mark.parametrize("query", [{"dryRun": "Some"}, {"fieldValidation": "Sometimes"}])
def test_write_parameters_that_make_no_sense_are_a_bad_request(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        requests.write_options(query)
    assert caught.value.code == 400


def test_delete_options_come_from_body_and_query() -> None:
    body = b'{"gracePeriodSeconds": 5, "preconditions": {"uid": "u"}, "kind": "DeleteOptions"}'
    options = requests.delete_options({"gracePeriodSeconds": "0"}, "application/json", body)
    assert options.grace_period_seconds == 0
    assert options.preconditions is not None
    assert options.preconditions.uid == "u"
    for bad in (b"[]", b"{", b'{"gracePeriodSeconds": "x"}'):
        with pytest.raises(ApiError) as caught:
            requests.delete_options({}, "application/json", bad)
        assert caught.value.code == 400


@pytest.mark.parametrize(
    ("query", "watch"), [({}, False), ({"watch": "true"}, True), ({"watch": "1"}, True), ({"watch": "false"}, False)]
)
def test_a_watch_is_asked_for_by_its_flag(query: dict[str, str], watch: bool) -> None:
    assert requests.is_watch(query) is watch
