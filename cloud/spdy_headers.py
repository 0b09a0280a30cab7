"""Names and values of a SPDY stream as they go over the line: counted, and compressed with what went before. No I/O.

The dictionary that compression begins with is part of the protocol: draft-mbelshe-httpbis-spdy-00, section 2.6.10.1.
"""

import struct
import zlib
from collections.abc import Mapping

from cloud import CloudError

HEADERS_BYTES = 64 * 1024
"""Of a block when it is unpacked."""
PAIRS = 100
_NUMBER = struct.Struct("!I")
_WINDOW_BITS, _MEMORY = 13, 4
"""Of the compressor: 8 KiB back, 24 KiB of memory a connection."""

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length content-location "
    "content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match "
    "if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range "
    "referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get "
    "status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _counted(text: str) -> bytes:
    content = text.encode("latin-1")
    return _NUMBER.pack(len(content)) + content


DICTIONARY = b"".join(_counted(word.replace("_", " ")) for word in _WORDS.split()) + _TAIL.encode()


class HeadersError(CloudError):
    """A block that cannot be read: nothing after it on the same connection can be either."""


class Packer:
    """Packs the blocks of one direction of a connection, in their order."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(
            wbits=_WINDOW_BITS, memLevel=_MEMORY, strategy=zlib.Z_DEFAULT_STRATEGY, zdict=DICTIONARY
        )

    def pack(self, headers: Mapping[str, str]) -> bytes:
        """A block; names become lower case."""
        plain = _NUMBER.pack(len(headers))
        plain += b"".join(_counted(name.lower()) + _counted(value) for name, value in headers.items())
        return self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class Unpacker:
    """Unpacks the blocks of one direction of a connection, in their order."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def unpack(self, block: bytes) -> dict[str, str]:
        """Names and values; several values of a name have a NUL between them. Raises HeadersError."""
        try:
            plain = self._decompressor.decompress(block, HEADERS_BYTES)
        except zlib.error as error:
            raise HeadersError(f"headers that cannot be unpacked: {error}") from error
        if self._decompressor.unconsumed_tail:
            raise HeadersError(f"headers of more than {HEADERS_BYTES} bytes")
        return _pairs(plain)


def _pairs(plain: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    count, rest = _number(plain)
    if count > PAIRS:
        raise HeadersError(f"{count} headers, where {PAIRS} are allowed")
    for _ in range(count):
        name, rest = _text(rest)
        value, rest = _text(rest)
        if not name or name != name.lower() or name in headers:
            raise HeadersError(f"the name {name[:50]!r} of a header is empty, not in lower case or there twice")
        headers[name] = value
    if rest:
        raise HeadersError(f"{len(rest)} bytes behind the headers")
    return headers


def _number(plain: bytes) -> tuple[int, bytes]:
    if len(plain) < _NUMBER.size:
        raise HeadersError("headers that end too early")
    return _NUMBER.unpack_from(plain)[0], plain[_NUMBER.size :]


def _text(plain: bytes) -> tuple[str, bytes]:
    size, rest = _number(plain)
    if size > len(rest):
        raise HeadersError("headers that end too early")
    return rest[:size].decode("latin-1"), rest[size:]
