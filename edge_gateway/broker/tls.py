"""TLS for the broker's connections: bytes in, bytes out, over OpenSSL's memory buffers.

asyncio's own TLS transport keeps 256 KiB a connection and calls nobody before the handshake is through. Here a connection counts
from its first byte: the broker's limit of connections and its deadline for CONNECT hold for handshakes too.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.broker.errors import TlsError
from edgewire.config import ConfigError

_PIECE = 65_536


@dataclass(frozen=True, slots=True)
class TlsListener:
    """Where the broker serves MQTT over TLS, and with what. All files are PEM."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Who signed the clients' certificates. A client that shows one needs no password: the certificate's CN is its user."""
    require_certificate: bool = False
    """Turn away who shows none."""
    host: str = "127.0.0.1"
    port: int = 8883

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        found = (self.certificate, self.key)
        return found if self.client_ca is None else (*found, self.client_ca)

    def context(self) -> ssl.SSLContext:
        """The settings for new connections, from the files as they are now: TLS 1.2 and later. Raises ConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0  # a resumed session would not show its certificate again
        try:
            context.load_cert_chain(self.certificate, self.key, password=b"")  # b"": never ask on a terminal
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED if self.require_certificate else ssl.CERT_OPTIONAL
        except OSError as error:  # which ssl.SSLError is
            names = ", ".join(map(str, self.files))
            raise ConfigError(f"the broker's certificates cannot be used: {names}: {_reason(error)}") from error
        return context


class TlsStream:
    """The server's end of one TLS connection."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "ended", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False  # the handshake is through
        self.ended = False  # the peer said that it sends nothing more

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; what they say. Send `outgoing` afterwards, after an error too. Raises TlsError."""
        self._incoming.write(data)
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error

    def send(self, data: bytes) -> None:
        """Put bytes on their way into `outgoing`; only once it is `established`. Raises TlsError."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise TlsError(_reason(error)) from error

    def close(self) -> None:
        """Tell the peer that this was all."""
        if self.established:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                return  # it wants the peer's answer, or is broken already: nobody waits for either

    def outgoing(self) -> bytes:
        """The bytes for the network."""
        return self._outgoing.read()

    def identity(self) -> str | None:
        """The CN of the client's certificate, empty when it has none; None when the client showed no certificate."""
        shown = self._tls.getpeercert()
        if not shown:
            return None
        names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]  # type: ignore[str-unpack]
        return str(names[-1]) if names else ""

    def _read(self) -> bytes:
        pieces = []
        try:
            while piece := self._tls.read(_PIECE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
