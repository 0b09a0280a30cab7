"""Whatever bytes come, the vocabulary of updates answers with a value or with OtaError."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire import ota
from edgewire.tests.golden import sample

PARSERS: list[Callable[[bytes], object]] = [ota.parse_offer, ota.parse_get, ota.parse_chunk, ota.parse_manifest]
SAMPLES: dict[Callable[[bytes], object], str] = {
    ota.parse_offer: "ota-offer",
    ota.parse_get: "ota-get",
    ota.parse_manifest: "ota-manifest",
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def answers(parser: Callable[[bytes], object], payload: bytes) -> None:
    refusal = None
    try:
        parser(payload)
    except ota.OtaError as error:
        refusal = error
    assert refusal is None or (refusal.reason in ota.REASONS and str(refusal))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(payload=st.binary(max_size=200))
def test_any_bytes_get_an_answer(parser: Callable[[bytes], object], payload: bytes) -> None:
    answers(parser, payload)


@pytest.mark.parametrize("parser", SAMPLES, ids=lambda parser: parser.__name__)
@given(data=st.data())
def test_any_value_in_any_field_gets_an_answer(parser: Callable[[bytes], object], data: st.DataObject) -> None:
    message = json.loads(sample(SAMPLES[parser]))
    message[data.draw(st.sampled_from(sorted(message)))] = data.draw(values)
    answers(parser, json.dumps(message).encode())


@pytest.mark.parametrize("parser", SAMPLES, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("opening", [b"[", b'{"id":'])
@pytest.mark.parametrize("length", [1000, 8000])
def test_nesting_too_deep_for_the_reader_is_refused(
    parser: Callable[[bytes], object], opening: bytes, length: int
) -> None:
    with pytest.raises(ota.OtaError):
        parser(opening * (length // len(opening)))
