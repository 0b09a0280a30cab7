"""ECDSA on the curve P-256, verification only: of a signature by its public key (FIPS 186-5, section 6.4.2).

Nothing here is secret, so nothing need take the same time for all numbers. Points are Jacobian, (X, Y, Z) for (X/Z^2, Y/Z^3),
and Z is 0 at infinity. Needs `pow` with three arguments.
"""

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    1,
)

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    Point = tuple[int, int, int]


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` (r and s) of the sha256 `digest` is by the owner of `public_key` (x and y); 32 bytes each, big-endian.

    False for whatever is no signature or no key. (r, n - s) is as good as (r, s): do not name anything by its signature.
    """
    if len(public_key) != 64 or len(digest) != 32 or len(signature) != 64:
        return False
    x, y = _number(public_key[:32]), _number(public_key[32:])
    r, s = _number(signature[:32]), _number(signature[32:])
    if not 0 < r < _N or not 0 < s < _N:
        return False
    if x >= _P or y >= _P or (y * y - (x * x - 3) * x - _B) % _P:  # no point of the curve; infinity cannot be written
        return False
    w = pow(s, _N - 2, _N)
    x, _, z = _sum_of_products(_number(digest) * w % _N, r * w % _N, (x, y, 1))
    if not z:
        return False
    zz = z * z % _P
    # x/z^2 reduced by n is r: it was r, or r + n where that is below p. Without a division.
    return (x - r * zz) % _P == 0 or (r + _N < _P and (x - (r + _N) * zz) % _P == 0)


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "big")


def _sum_of_products(u: int, v: int, q: "Point") -> "Point":
    """u G + v q, both in one go."""
    points = (None, _G, q, _add(_G, q))
    found = (1, 1, 0)
    bit = 1 << 255
    while bit:
        found = _double(found)
        point = points[(1 if u & bit else 0) + (2 if v & bit else 0)]
        if point:
            found = _add(found, point)
        bit >>= 1
    return found


def _double(point: "Point") -> "Point":
    x, y, z = point
    if not z:
        return point
    zz, yy = z * z % _P, y * y % _P
    beta = x * yy % _P
    alpha = 3 * (x - zz) * (x + zz) % _P
    x3 = (alpha * alpha - 8 * beta) % _P
    return x3, (alpha * (4 * beta - x3) - 8 * yy * yy) % _P, 2 * y * z % _P


def _add(one: "Point", other: "Point") -> "Point":
    x1, y1, z1 = one
    x2, y2, z2 = other
    if not z1:
        return other
    if not z2:
        return one
    zz1, zz2 = z1 * z1 % _P, z2 * z2 % _P
    u, s = x1 * zz2 % _P, y1 * z2 * zz2 % _P
    h, r = (x2 * zz1 - u) % _P, (y2 * z1 * zz1 - s) % _P
    if not h:
        return (1, 1, 0) if r else _double(one)
    hh = h * h % _P
    hhh, v = h * hh % _P, u * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - s * hhh) % _P, h * z1 * z2 % _P
