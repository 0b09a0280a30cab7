"""TLS for the MQTT link: whom the board trusts, and who it says it is. Imported only by boards that use it.

Certificates and keys are DER files on the board's flash. The handshake happens within the link's first write, on a socket that
does not block, so that it has a deadline like every wait. MicroPython 1.22 or later; the board's clock must be about right, or
certificates are not valid yet.
"""

import errno
import ssl

from device_fw.firmware.tcp import LinkError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

_EPIPE = 32  # on Linux as in lwIP; `errno` lacks the name
_FATAL_ALERT = -0x7780  # Mbed TLS's MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE
_ENDED = (errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, _EPIPE, _FATAL_ALERT)


class Trust:
    """The CA that the broker's certificate must be signed by, the name in it, and the board's own certificate, if any."""

    def __init__(self, ca: str, name: str, certificate: str = "", key: str = "") -> None:
        """`ca`, `certificate` and `key` are files; `name` is that of the broker, or its address."""
        self._ca = ca
        self._name = name
        self._certificate = certificate
        self._key = key
        self._context: "Any" = None

    def wrap(self, sock: "Any") -> "Any":
        """The stream to use in place of a connected socket. LinkError when a file is missing or is no DER."""
        self.load()
        return self._context.wrap_socket(sock, server_hostname=self._name, do_handshake_on_connect=False)

    def load(self) -> None:
        """Make the context, of 3 kB in one piece, and keep it. LinkError as `wrap`."""
        if self._context is None:
            self._context = self._load()

    def failure(self, error: "OSError | ValueError") -> LinkError:
        """Why a handshake failed, in one line: what the library has against the certificate, or how the broker ended it."""
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno in _ENDED:
            text = "ended by the broker"
            if not self._certificate:
                text += "; does it want a certificate of this board?"
        return LinkError("TLS: " + text)

    def _load(self) -> "Any":
        if not hasattr(ssl, "SSLContext"):
            raise LinkError("TLS needs MicroPython 1.22 or later")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        _use(self._ca, lambda: context.load_verify_locations(cadata=_content(self._ca)))
        if self._certificate:
            both = self._certificate + ", " + self._key
            chain: "Any" = context.load_cert_chain  # takes bytes on MicroPython
            _use(both, lambda: chain(_content(self._certificate), _content(self._key)))
        return context


def _use(files: str, load: "Any") -> None:
    try:
        load()
    except OSError as error:
        raise LinkError("TLS: {} cannot be read: {}".format(files, error))
    except ValueError as error:
        raise LinkError("TLS: {}: {}; is it DER?".format(files, error))


def _content(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()
