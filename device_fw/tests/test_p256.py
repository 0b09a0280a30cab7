"""Signatures checked by the board's own code, on CPython and on MicroPython, against those of `cryptography`."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from device_fw.boot import p256
from device_fw.tests.conftest import ROOT
from hil_tests.bench import micropython_board

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

Case = tuple[bytes, bytes, bytes, bool]
Verify = Callable[[list[Case]], list[bool]]


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return pair(numbers.x, numbers.y)


def pair(one: int, other: int) -> bytes:
    return one.to_bytes(32, "big") + other.to_bytes(32, "big")


def signed(key: ec.EllipticCurvePrivateKey, digest: bytes) -> tuple[int, int]:
    return decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))


def private(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


def with_nonce(d: int, k: int, digest: bytes) -> bytes:
    """A signature made with a nonce of our choice, which leads to points where additions are special."""
    r = private(k).public_key().public_numbers().x % N
    return pair(r, pow(k, -1, N) * (int.from_bytes(digest, "big") + r * d) % N)


@pytest.fixture(params=["cpython", "micropython"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    """Answers for many cases at once."""
    if request.param == "cpython":
        return lambda cases: [p256.verify(key, digest, signature) for key, digest, signature, _ in cases]
    request.getfixturevalue("micropython")

    def on_the_board(cases: list[Case]) -> list[bool]:
        (tmp_path / "cases.json").write_text(json.dumps([[part.hex() for part in case[:3]] for case in cases]))
        code = (
            "import json; from binascii import unhexlify as u; from device_fw.boot import p256\n"
            "cases = json.load(open('cases.json'))\n"
            "print(json.dumps([p256.verify(u(k), u(d), u(s)) for k, d, s in cases]))"
        )
        line = micropython_board.command("-c", code)
        environment = micropython_board.environment([ROOT])
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stdout
        return list(json.loads(done.stdout))

    return on_the_board


def assert_all(verify: Verify, cases: list[Case]) -> None:
    assert verify(cases) == [expected for *_, expected in cases]


def test_signatures_hold_for_their_key_and_text_only(verify: Verify) -> None:
    cases: list[Case] = []
    for number in range(20):
        key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        digest = hashlib.sha256(number.to_bytes(4, "big")).digest()
        signature = pair(*signed(key, digest))
        bit = 1 << (number * 7 % 8)
        broken = bytes(b ^ bit if i == number * 3 else b for i, b in enumerate(signature))
        cases += [
            (point(key), digest, signature, True),
            (point(other), digest, signature, False),
            (point(key), hashlib.sha256(digest).digest(), signature, False),
            (point(key), digest, broken, False),
        ]
    assert_all(verify, cases)


def test_the_other_root_of_a_signature_holds_too(verify: Verify) -> None:
    key, digest = private(7), bytes(range(32))
    r, s = signed(key, digest)
    assert_all(verify, [(point(key), digest, pair(r, s), True), (point(key), digest, pair(r, N - s), True)])


def test_numbers_out_of_range_are_refused(verify: Verify) -> None:
    key, digest = private(7), bytes(range(32))
    r, s = signed(key, digest)
    most = (1 << 256) - 1
    wrong = [(0, s), (r, 0), (0, 0), (N, s), (r, N), (0, N), (N, 0), (N, N), (P, s), (most, most), (1, 1), (1, 0)]
    wrong += [(r + N, s)] if r + N <= most else []
    wrong += [(r, s + N)] if s + N <= most else []
    assert_all(verify, [(point(key), digest, pair(*one), False) for one in wrong])


def test_what_is_no_point_of_the_curve_is_no_key(verify: Verify) -> None:
    key, digest = private(7), bytes(range(32))
    signature = pair(*signed(key, digest))
    numbers = key.public_key().public_numbers()
    x, y = numbers.x, numbers.y
    keys = [(0, 0), (x, y ^ 1), (y, x), (x, P - y), (P, y), (x, P), (0, 1), ((1 << 256) - 1, y)]
    keys += [(x + P, y)] if x + P < 1 << 256 else []
    assert_all(verify, [(pair(*one), digest, signature, False) for one in keys])


def test_keys_for_which_additions_are_special_work(verify: Verify) -> None:
    """The generator itself as key, its negative, small multiples, a nonce that meets the key, a text whose hash is 0 or n."""
    digests = [bytes(32), N.to_bytes(32, "big"), b"\xff" * 32, (1).to_bytes(32, "big"), hashlib.sha256(b"x").digest()]
    cases: list[Case] = []
    for d in (1, 2, 3, N - 1, N - 2, (N + 1) // 2):
        for k in (1, 2, N - 1, 12345):
            for digest in digests:
                signature = with_nonce(d, k, digest)
                valid = signature[32:] != bytes(32)
                cases.append((point(private(d)), digest, signature, valid))
    assert sum(expected for *_, expected in cases) > 100
    assert_all(verify, cases)


def test_a_sum_at_infinity_is_no_signature(verify: Verify) -> None:
    """u G + v Q = 0 when the hash is -r d."""
    d, r, s = 5, 1234, 999
    digest = (-r * d % N).to_bytes(32, "big")
    assert_all(verify, [(point(private(d)), digest, pair(r, s), False)])


def test_an_x_beyond_the_order_is_reduced() -> None:
    """Such a point is too rare to be met by chance: the comparison itself is checked, with r + n below p."""
    for x in range(N, N + 2000):
        yy = (x**3 - 3 * x + p256._B) % P
        y = pow(yy, (P + 1) // 4, P)
        if y * y % P == yy:
            break
    r, s, digest = x - N, 77, bytes(range(32))
    # The key for which u G + v Q is that point: Q = (R - u G) / v.
    w = pow(s, N - 2, N)
    u, v = int.from_bytes(digest, "big") * w % N, r * w % N
    minus_u_g = p256._sum_of_products(N - u, 0, p256._G)
    q = p256._sum_of_products(0, pow(v, -1, N), p256._add((x, y, 1), minus_u_g))
    zi = pow(q[2], -1, P)
    key = pair(q[0] * zi * zi % P, q[1] * zi**3 % P)
    assert p256.verify(key, digest, pair(r, s))
    ec.EllipticCurvePublicNumbers(
        int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big"), ec.SECP256R1()
    ).public_key()


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_parts_of_a_wrong_length_are_refused(cut: int) -> None:
    key, digest = private(7), bytes(range(32))
    good = [point(key), digest, pair(*signed(key, digest))]
    assert p256.verify(good[0], good[1], good[2])
    for wrong in (b"", good[cut][1:], good[cut] + b"\x00"):
        parts = [wrong if place == cut else part for place, part in enumerate(good)]
        assert not p256.verify(parts[0], parts[1], parts[2])
