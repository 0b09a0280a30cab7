"""Where a property's values go beside the twin: `pushMethod` of a Device's property, read and checked; and what is sent there.

KubeEdge's keys for HTTP, MQTT and InfluxDB 2 are understood, and shorter ones of our own:

    pushMethod:
      http: {url: "http://10.0.0.5:8080/values"}                    # a JSON array of samples in each POST
      mqtt: {topic: site/boiler/temperature}                        # on the gateway's own broker; or address: mqtt://host:1883
      influx: {url: "http://10.0.0.5:8086", org: acme, bucket: site}
      prometheus: {metric: boiler_temperature_celsius}              # on the mapper's own /metrics

What is pushed is what is reported: after the dead band, at the report cycle. No password stands in a Device; see `pusher.py`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

from edgewire.device import BOOLEAN, FLOATS, INTEGER, ModelProperty

from .driver import DefinitionError, read_config

_URL = re.compile(r"(https?)://([^/\s?#@]+)(/[^\s]*)?", re.IGNORECASE)
_BROKER = re.compile(r"(?:(?:mqtt|tcp)://)?([^/:\s@]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?", re.IGNORECASE)
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

LONGEST_TIMEOUT_MS = 10_000
"""A request under way holds up the end of the process."""

JSON, VALUE = "json", "value"


class HttpTarget(Struct, frozen=True):
    """An address that takes samples as a JSON array."""

    url: str
    timeout_s: float

    def body(self, samples: Iterable["Placed"]) -> bytes:
        """What one POST carries."""
        return b"[" + b",".join(json_of(placed.sample) for placed in samples) + b"]"


class InfluxTarget(Struct, frozen=True):
    """A bucket of an InfluxDB 2, or of anything that takes its line protocol."""

    url: str
    timeout_s: float

    def body(self, samples: Iterable["Placed"]) -> bytes:
        """What one POST carries: a line a sample; what the protocol cannot express is left out."""
        lines = (line_of(placed.sample, placed.how) for placed in samples if isinstance(placed.how, InfluxPoint))
        return "\n".join(line for line in lines if line).encode()


class MqttTarget(Struct, frozen=True):
    """A broker; with an empty host the gateway's own."""

    host: str = ""
    port: int = 1883


Target: TypeAlias = HttpTarget | InfluxTarget | MqttTarget
"""Where samples go together."""


class MqttPoint(Struct, frozen=True):
    """How one property is published."""

    topic: str
    qos: int
    retained: bool
    format: str
    """json, or value: the bare value."""


class InfluxPoint(Struct, frozen=True):
    """How one property is written; tags beside `namespace` and `device`."""

    measurement: str
    field: str
    tags: tuple[tuple[str, str], ...]


class Gauge(Struct, frozen=True):
    """How one property is shown to Prometheus; labels beside `namespace` and `device`."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    help: str


How: TypeAlias = MqttPoint | InfluxPoint | None


class Pushes(Struct, frozen=True):
    """Everywhere one property's values go."""

    targets: tuple[tuple[Target, How], ...]
    gauge: Gauge | None


class Sample(Struct, frozen=True):
    """One reported value."""

    device: str
    """`<namespace>/<name>`."""
    property: str
    value: str
    """As in the twin."""
    type: str
    """The model's."""
    unit: str
    at_ms: int


class Placed(Struct, frozen=True):
    """A sample on its way to a target."""

    sample: Sample
    how: How


# The keys


class _Http(Struct, frozen=True):
    url: str = ""
    host_name: str = field(default="", name="hostName")
    port: int = 0
    request_path: str = field(default="", name="requestPath")
    timeout: int = 5000


class _Mqtt(Struct, frozen=True):
    topic: str
    address: str = ""
    qos: int = 1
    retained: bool = False
    format: str = JSON


class _Influx(Struct, frozen=True):
    url: str
    org: str = ""
    bucket: str = ""
    measurement: str = ""
    field_key: str = field(default="", name="fieldKey")
    tags: dict[str, str] = field(default_factory=dict)
    timeout: int = 5000


class _InfluxClient(Struct, frozen=True):
    url: str
    org: str = ""
    bucket: str = ""


class _InfluxData(Struct, frozen=True):
    measurement: str = ""
    tag: dict[str, str] = field(default_factory=dict)
    field_key: str = field(default="", name="fieldKey")


class _Influxdb2(Struct, frozen=True):
    client: _InfluxClient = field(name="influxdb2ClientConfig")
    data: _InfluxData = field(name="influxdb2DataConfig", default_factory=_InfluxData)


class _DbMethod(Struct, frozen=True):
    influxdb2: _Influxdb2 | None = None


class _Prometheus(Struct, frozen=True):
    metric: str = ""
    labels: dict[str, str] = field(default_factory=dict)


class _PushMethod(Struct, frozen=True):
    http: _Http | None = None
    mqtt: _Mqtt | None = None
    influx: _Influx | None = None
    db_method: _DbMethod | None = field(default=None, name="dbMethod")
    prometheus: _Prometheus | None = None


def pushes(content: Mapping[str, Any], model: ModelProperty, where: str) -> Pushes | None:
    """What a `pushMethod` asks for; None for nothing. Raises DefinitionError naming the key."""
    if not content:
        return None
    keys = read_config(content, _PushMethod, where)
    targets: list[tuple[Target, How]] = []
    try:
        if keys.http is not None:
            targets.append((_http(keys.http), None))
        if keys.mqtt is not None:
            targets.append(_mqtt(keys.mqtt))
        if keys.influx is not None:
            targets.append(_influx(keys.influx, model))
        if keys.db_method is not None and keys.db_method.influxdb2 is not None:
            client, data = keys.db_method.influxdb2.client, keys.db_method.influxdb2.data
            short = _Influx(client.url, client.org, client.bucket, data.measurement, data.field_key, data.tag)
            targets.append(_influx(short, model))
        gauge = _gauge(keys.prometheus, model) if keys.prometheus is not None else None
    except ValueError as error:
        raise DefinitionError(f"{where}: {error}") from error
    return Pushes(tuple(targets), gauge)


def _http(keys: _Http) -> HttpTarget:
    url = keys.url
    if not url:
        host = keys.host_name if "://" in keys.host_name else f"http://{keys.host_name}"
        url = f"{host.rstrip('/')}{f':{keys.port}' if keys.port else ''}/{keys.request_path.lstrip('/')}"
    return HttpTarget(_checked(url, "http"), _seconds(keys.timeout, "http"))


def _mqtt(keys: _Mqtt) -> tuple[Target, How]:
    if not keys.topic or not 0 <= keys.qos <= 1 or any(c in keys.topic for c in "+#\0"):
        raise ValueError("`mqtt`: `topic` must be a topic without wildcards, and `qos` 0 or 1")
    if keys.topic.startswith("$"):
        raise ValueError("`mqtt`: `topic` must not begin with $: those are the gateway's own")
    if keys.format not in (JSON, VALUE):
        raise ValueError(f"`mqtt`: `format` must be {JSON} or {VALUE}")
    point = MqttPoint(keys.topic, keys.qos, keys.retained, keys.format)
    if not keys.address:
        return MqttTarget(), point
    found = _BROKER.fullmatch(keys.address)
    port = int(found[2] or 1883) if found is not None else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(f"`mqtt`: `address` {keys.address[:80]!r} is not mqtt://host:port")
    return MqttTarget(found[1].strip("[]"), port), point


def _influx(keys: _Influx, model: ModelProperty) -> tuple[Target, How]:
    base = _checked(keys.url, "influx").rstrip("/")
    if not keys.bucket:
        raise ValueError("`influx`: `bucket` is missing")
    url = f"{base}/api/v2/write?org={_quoted(keys.org)}&bucket={_quoted(keys.bucket)}&precision=ms"
    tags = tuple(sorted(keys.tags.items()))
    point = InfluxPoint(keys.measurement or "hedgerow", keys.field_key or model.name, tags)
    return InfluxTarget(url, _seconds(keys.timeout, "influx")), point


def _gauge(keys: _Prometheus, model: ModelProperty) -> Gauge:
    if model.type != INTEGER and model.type not in FLOATS and model.type != BOOLEAN:
        raise ValueError(f"`prometheus` is for numbers and BOOLEAN, and the model's type is {model.type}")
    metric = keys.metric or "hedgerow_" + re.sub("[^a-zA-Z0-9_:]", "_", model.name)
    if not _METRIC.fullmatch(metric):
        raise ValueError(f"`prometheus`: `metric` {metric[:80]!r} must be letters, digits, _ and :")
    for label in keys.labels:
        if not _LABEL.fullmatch(label) or label in ("namespace", "device"):
            raise ValueError(f"`prometheus`: label {label[:80]!r} must be letters, digits and _, and none of ours")
    help = model.description or model.name
    return Gauge(metric, tuple(sorted(keys.labels.items())), f"{help}, {model.unit}" if model.unit else help)


def _checked(url: str, key: str) -> str:
    if not _URL.fullmatch(url) or not url.isascii():
        raise ValueError(f"`{key}`: {url[:80]!r} is no URL of http or https, without a password in it")
    return url


def _seconds(milliseconds: int, key: str) -> float:
    if not 10 <= milliseconds <= LONGEST_TIMEOUT_MS:
        raise ValueError(f"`{key}`: `timeout` must lie between 10 and {LONGEST_TIMEOUT_MS} ms")
    return milliseconds / 1000


def _quoted(text: str) -> str:
    """Percent-encoded, for a query (RFC 3986, section 2.1)."""
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in text.encode())


# What is sent


def json_of(sample: Sample) -> bytes:
    """A sample as a JSON object. A number has all its digits; one that JSON cannot express is a string."""
    namespace, _, name = sample.device.partition("/")
    content = {
        "namespace": namespace, "device": name, "property": sample.property, "value": _json_value(sample),
        "type": sample.type, "unit": sample.unit, "timestamp": sample.at_ms,
    }  # fmt: skip
    return msgspec.json.encode(content)


def payload_of(sample: Sample, how: MqttPoint) -> str:
    """What is published of a sample."""
    return sample.value if how.format == VALUE else json_of(sample).decode()


def line_of(sample: Sample, how: InfluxPoint) -> str:
    """A sample in line protocol, precision ms; empty for what it cannot express: a float that is not finite."""
    value = _line_value(sample)
    if not value:
        return ""
    namespace, _, name = sample.device.partition("/")
    tags = {"namespace": namespace, "device": name, **dict(how.tags)}
    named = "".join(f",{_key(k)}={_key(v)}" for k, v in sorted(tags.items()) if _key(k) and _key(v))
    return f"{_measurement(how.measurement)}{named} {_key(how.field)}={value} {sample.at_ms}"


def _json_value(sample: Sample) -> Any:
    if sample.type == BOOLEAN:
        return sample.value == "true"
    numeric = sample.type == INTEGER or sample.type in FLOATS
    return msgspec.Raw(sample.value.encode()) if numeric and _JSON_NUMBER.fullmatch(sample.value) else sample.value


def _line_value(sample: Sample) -> str:
    if sample.type == BOOLEAN:
        return sample.value
    if sample.type == INTEGER:
        number = int(sample.value)
        if -(1 << 63) <= number < 1 << 63:
            return f"{number}i"
        return f"{number}u" if 0 <= number < 1 << 64 else ""
    if sample.type in FLOATS:
        return sample.value if _JSON_NUMBER.fullmatch(sample.value) else ""
    escaped = sample.value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _measurement(text: str) -> str:
    return _one_line(text).replace(",", "\\,").replace(" ", "\\ ")


def _key(text: str) -> str:
    return _measurement(text).replace("=", "\\=")


def _one_line(text: str) -> str:
    """Line protocol has no way to write a line feed outside strings, nor a backslash before a delimiter."""
    return re.sub(r"[\r\n\t]", " ", text).rstrip("\\")
