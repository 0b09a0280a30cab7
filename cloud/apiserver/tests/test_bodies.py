"""Configurations as clients send them."""

import pytest

from cloud.apiserver import bodies
from cloud.apiserver.status import ApiError


def test_a_configuration_is_yaml_or_json() -> None:
    text = b"a: {b: [1, 2.5, true, null, text]}\nday: 2026-01-01\nanswer: yes\nswitch: off\n8080: port\n"
    found = {
        "a": {"b": [1, 2.5, True, None, "text"]},
        "day": "2026-01-01",
        "answer": "yes",
        "switch": "off",
        "8080": "port",
    }
    assert bodies.decode_configuration(text) == found
    assert bodies.decode_configuration(b' {"a": 1}') == {"a": 1}


def test_a_long_configuration_must_be_json() -> None:
    with pytest.raises(ApiError) as caught:
        bodies.decode_configuration(b"a: " + b"x" * bodies.YAML_LIMIT)
    assert caught.value.code == 413
    bodies.decode_configuration(b'{"a": "' + b"x" * bodies.YAML_LIMIT + b'"}')


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"\xff\xfe\xfd",
        b"a: &x [1]\nb: *x\n",
        b"a: !!python/object/apply:os.getcwd []",
        b"? [1, 2]\n: 3",
        b"{",
        b"a: 1\n---\nb: 2\n",
    ],
)
def test_what_is_neither_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        bodies.decode_configuration(text)
    assert caught.value.code == 400
