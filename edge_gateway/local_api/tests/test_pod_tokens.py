import base64
import json

import pytest

from edge_gateway.local_api.access import LONGEST
from edge_gateway.local_api.pod_tokens import LIFE_S, SLOT_S, PodTokens, TokenPod

POD = TokenPod("default", "app", "u1")
NOW = 1_800_000_000.0
tokens = PodTokens(bytes(32), "edge1")


def test_a_token_names_its_pod_until_it_is_too_old() -> None:
    token = tokens.issue(POD, NOW)
    assert tokens.read(token, NOW + LIFE_S) == POD
    assert tokens.read(token, NOW + LIFE_S + SLOT_S) is None


def test_a_token_is_the_same_for_some_minutes_and_then_another_one() -> None:
    begin = NOW // SLOT_S * SLOT_S
    assert tokens.issue(POD, begin) == tokens.issue(POD, begin + SLOT_S - 1)
    assert tokens.issue(POD, begin) != tokens.issue(POD, begin + SLOT_S)


def test_a_token_holds_over_a_restart_and_on_no_other_gateway() -> None:
    token = tokens.issue(POD, NOW)
    assert PodTokens(bytes(32), "edge1").read(token, NOW) == POD
    assert PodTokens(b"x" * 32, "edge1").read(token, NOW) is None
    assert PodTokens(bytes(32), "edge2").read(token, NOW) is None


def test_a_token_with_another_pod_put_in_is_none() -> None:
    header, content, signature = tokens.issue(POD, NOW).split(".")
    claims = json.loads(base64.urlsafe_b64decode(content + "=="))
    claims["kubernetes.io"]["pod"]["uid"] = "u2"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert tokens.read(f"{header}.{forged}.{signature}", NOW) is None


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "ä.ö.ü", "eyJhbGciOiJub25lIn0.e30.", "x" * 4000])
def test_what_is_no_token_is_none(token: str) -> None:
    assert tokens.read(token, NOW) is None


def test_a_token_says_that_no_algorithm_was_used_in_vain() -> None:
    _, content, _ = tokens.issue(POD, NOW).split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    assert tokens.read(f"{header}.{content}.", NOW) is None


def test_the_longest_names_make_a_token_that_is_read() -> None:
    pod = TokenPod("n" * 63, "p" * 253, "u" * 36)
    token = PodTokens(bytes(32), "e" * 63).issue(pod, NOW)
    assert len(token) <= LONGEST
