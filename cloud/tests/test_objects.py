"""Objects as controllers keep them."""

import msgspec
import pytest

from cloud import objects
from cloud.objects import ObjectError

MANAGED = b'"managedFields":[{"manager":"m","fieldsV1":{"f:spec":{".":{},"k:{\\"name\\":\\"a\\"}":{}}}}]'


@pytest.mark.parametrize(
    "meta",
    [
        b'"name":"a","namespace":"n",' + MANAGED,
        MANAGED + b',"name":"a","namespace":"n"',
        b'"name":"a",' + MANAGED + b',"namespace":"n"',
        b'"name":"a","namespace":"n"',
    ],
)
def test_an_object_is_kept_byte_for_byte_without_its_managed_fields(meta: bytes) -> None:
    found = objects.parse(b'{"kind":"K","metadata":{' + meta + b'},"spec":{"b": 1}}')
    assert (found.id, found.raw) == ("n/a", b'{"kind":"K","metadata":{"name":"a","namespace":"n"},"spec":{"b": 1}}')


def test_managed_fields_alone_leave_nothing_behind() -> None:
    assert objects.parse(b'{"metadata":{"name":"a",' + MANAGED + b"}}").raw == b'{"metadata":{"name":"a"}}'


def test_what_only_looks_like_managed_fields_stays() -> None:
    spaced = b'{"metadata": {"name": "a", "managedFields": []}}'
    assert objects.parse(spaced).raw == spaced
    twice = b'{"metadata":{"name":"a",' + MANAGED + b'},"spec":{' + MANAGED + b"}}"
    assert msgspec.json.decode(objects.parse(twice).raw) == msgspec.json.decode(twice)


def test_what_is_no_object_is_refused() -> None:
    for content in (b"", b"{}", b'{"metadata":{}}', b'{"metadata":{"name":1}}'):
        with pytest.raises(ObjectError):
            objects.parse(content)
