"""String formats of OpenAPI schemas that the API checks (k8s.io/kube-openapi/pkg/validation/strfmt), and times."""

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

_DATE_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_DURATION = re.compile(r"^([+-]?\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+$")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOSTNAME = re.compile(rf"^{_LABEL}(\.{_LABEL})*$", re.IGNORECASE)


def parse_time(text: str) -> datetime | None:
    """A moment written as RFC 3339, or None when the text is not one."""
    if not _DATE_TIME.match(text):
        return None
    try:
        return datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        return None


def format_time(moment: datetime) -> str:
    """A moment as metadata has it: RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _succeeds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return valid


def _date(text: str) -> object:
    return datetime.strptime(text, "%Y-%m-%d")


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": lambda text: parse_time(text) is not None,
    "date": _succeeds(_date),
    "duration": lambda text: _DURATION.match(text) is not None,
    "byte": _succeeds(lambda text: base64.b64decode(text, validate=True)),
    "ipv4": _succeeds(ipaddress.IPv4Address),
    "ipv6": _succeeds(ipaddress.IPv6Address),
    "cidr": _succeeds(lambda text: ipaddress.ip_network(text, strict=False)),
    "uuid": _succeeds(uuid.UUID),
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME.match(text) is not None,
}
"""Format name -> whether a string has that format."""
