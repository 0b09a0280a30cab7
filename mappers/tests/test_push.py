"""`pushMethod` read and checked, KubeEdge's keys and ours; samples as JSON and in line protocol."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers.driver import DefinitionError
from mappers.push import (
    Gauge,
    HttpTarget,
    InfluxPoint,
    InfluxTarget,
    MqttPoint,
    MqttTarget,
    Placed,
    Pushes,
    Sample,
    json_of,
    line_of,
    payload_of,
    pushes,
)

TEMP = ModelProperty("temp", "Of the boiler", "FLOAT", unit="°C")
WHERE = "Device property 'temp' pushMethod"


def read(model: ModelProperty = TEMP, **content: Any) -> Pushes:
    found = pushes(content, model, WHERE)
    assert found is not None
    return found


def sample(value: str = "21.5", type: str = "FLOAT", device: str = "default/boiler") -> Sample:
    return Sample(device, "temp", value, type, "°C", 1_750_000_000_123)


def test_nothing_asked_for_is_nothing() -> None:
    assert pushes({}, TEMP, WHERE) is None


def test_our_keys() -> None:
    found = read(
        http={"url": "https://a.example/values?x=1", "timeout": 2000},
        mqtt={"topic": "site/boiler/temp", "qos": 0, "retained": True, "format": "value"},
        influx={"url": "http://db:8086/", "org": "a b", "bucket": "ä&c", "tags": {"line": "3"}},
        prometheus={"metric": "boiler_celsius", "labels": {"line": "3"}},
    )
    influx = "http://db:8086/api/v2/write?org=a%20b&bucket=%C3%A4%26c&precision=ms"
    assert found.targets == (
        (HttpTarget("https://a.example/values?x=1", 2.0), None),
        (MqttTarget(), MqttPoint("site/boiler/temp", 0, True, "value")),
        (InfluxTarget(influx, 5.0), InfluxPoint("hedgerow", "temp", (("line", "3"),))),
    )
    assert found.gauge == Gauge("boiler_celsius", (("line", "3"),), "Of the boiler, °C")


def test_keys_of_kubeedge() -> None:
    found = read(
        http={"hostName": "http://127.0.0.1", "port": 8080, "requestPath": "/report", "timeout": 3000},
        mqtt={"address": "mqtt://127.0.0.1:1884", "topic": "site/temp", "qos": 1, "retained": False},
        dbMethod={
            "influxdb2": {
                "influxdb2ClientConfig": {"url": "http://db:8086", "org": "acme", "bucket": "site"},
                "influxdb2DataConfig": {"measurement": "m", "tag": {"unit": "C"}, "fieldKey": "f"},
            }
        },
    )
    assert found.targets == (
        (HttpTarget("http://127.0.0.1:8080/report", 3.0), None),
        (MqttTarget("127.0.0.1", 1884), MqttPoint("site/temp", 1, False, "json")),
        (
            InfluxTarget("http://db:8086/api/v2/write?org=acme&bucket=site&precision=ms", 5.0),
            InfluxPoint("m", "f", (("unit", "C"),)),
        ),
    )
    assert read(http={"hostName": "10.0.0.5", "requestPath": "x"}).targets[0][0] == HttpTarget("http://10.0.0.5/x", 5.0)


def test_a_gauge_is_named_by_its_property_unless_it_is_said() -> None:
    found = read(ModelProperty("flow.rate-1", type="INT"), prometheus={})
    assert found.gauge == Gauge("hedgerow_flow_rate_1", (), "flow.rate-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"htp": {}}, f"unknown key `htp` in {WHERE}: did you mean `http`?"),
        ({"otel": {}}, f"unknown key `otel` in {WHERE}: known are"),
        ({"mqtt": {}}, "missing required field `topic`"),
        ({"mqtt": {"topic": "a/+/b"}}, f"{WHERE}: `mqtt`: `topic` must be a topic without wildcards, and `qos` 0 or 1"),
        ({"mqtt": {"topic": "a", "qos": 2}}, "`qos` 0 or 1"),
        ({"mqtt": {"topic": "$hw/x"}}, "must not begin with $"),
        ({"mqtt": {"topic": "a", "format": "xml"}}, "`format` must be json or value"),
        ({"mqtt": {"topic": "a", "address": "http://b"}}, "is not mqtt://host:port"),
        ({"mqtt": {"topic": "a", "address": "mqtt://b:99999"}}, "is not mqtt://host:port"),
        ({"http": {}}, "is no URL of http or https"),
        ({"http": {"url": "ftp://a"}}, "'ftp://a' is no URL of http or https"),
        ({"http": {"url": "http://me:secret@a/"}}, "without a password in it"),
        ({"http": {"url": "http://a/\nX: y"}}, "is no URL"),
        ({"http": {"url": "http://a/", "timeout": 1}}, "`timeout` must lie between 10 and 10000 ms"),
        ({"influx": {"url": "http://a"}}, "`influx`: `bucket` is missing"),
        ({"prometheus": {"metric": "a-b"}}, "`metric` 'a-b' must be letters, digits, _ and :"),
        ({"prometheus": {"labels": {"__x": "1"}}}, "label '__x' must be"),
        ({"prometheus": {"labels": {"device": "1"}}}, "label 'device' must be"),
    ],
)
def test_a_mistake_names_its_key(content: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(message)):
        pushes(content, TEMP, WHERE)


def test_text_is_no_gauge() -> None:
    with pytest.raises(DefinitionError, match="for numbers and BOOLEAN, and the model's type is STRING"):
        pushes({"prometheus": {}}, ModelProperty("mode"), WHERE)


@given(st.integers(-(2**63), 2**64 - 1) | st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_json_has_every_digit_of_a_number(number: int | Decimal) -> None:
    type = "INT" if isinstance(number, int) else "DOUBLE"
    found = json.loads(
        json_of(sample(format(number, "f") if type == "DOUBLE" else str(number), type)), parse_float=Decimal
    )
    assert found["value"] == number


def test_json_names_the_device_and_says_what_the_value_is() -> None:
    assert json.loads(json_of(sample())) == {
        "namespace": "default", "device": "boiler", "property": "temp", "value": 21.5, "type": "FLOAT", "unit": "°C",
        "timestamp": 1_750_000_000_123,
    }  # fmt: skip
    assert [json.loads(json_of(sample(v, t)))["value"] for v, t in (("true", "BOOLEAN"), ("7", "STRING"), ("nan", "FLOAT"))] == [
        True, "7", "nan",
    ]  # fmt: skip


def test_one_post_is_an_array() -> None:
    body = HttpTarget("http://a", 1).body([Placed(sample(), None), Placed(sample("22"), None)])
    assert [entry["value"] for entry in json.loads(body)] == [21.5, 22]


def test_a_bare_value_is_the_value() -> None:
    assert payload_of(sample(), MqttPoint("t", 0, False, "value")) == "21.5"
    assert json.loads(payload_of(sample(), MqttPoint("t", 0, False, "json")))["value"] == 21.5


POINT = InfluxPoint("hedgerow", "temp", ())


@pytest.mark.parametrize(
    ("value", "type", "field"),
    [
        ("21.5", "FLOAT", "temp=21.5"),
        ("1E+25", "DOUBLE", "temp=1E+25"),
        ("-7", "INT", "temp=-7i"),
        ("9223372036854775807", "INT", "temp=9223372036854775807i"),
        ("18446744073709551615", "INT", "temp=18446744073709551615u"),
        ("true", "BOOLEAN", "temp=true"),
        ('a "b" \\c, d=e', "STRING", 'temp="a \\"b\\" \\\\c, d=e"'),
    ],
)
def test_line_protocol_by_type(value: str, type: str, field: str) -> None:
    assert line_of(sample(value, type), POINT) == f"hedgerow,device=boiler,namespace=default {field} 1750000000123"


@pytest.mark.parametrize(("value", "type"), [("nan", "FLOAT"), ("inf", "DOUBLE"), ("99999999999999999999", "INT")])
def test_what_line_protocol_cannot_express_is_left_out(value: str, type: str) -> None:
    assert line_of(sample(value, type), POINT) == ""
    target = InfluxTarget("http://a", 1)
    assert target.body([Placed(sample(value, type), POINT), Placed(sample("1"), POINT)]).count(b"\n") == 0


def test_line_protocol_escapes_names_and_tags() -> None:
    point = InfluxPoint("m, x", "f=1 a", (("t, g", "v=a l"), ("end", "x\\"), ("empty", ""), ("line", "a\nb")))
    assert line_of(sample(device="default/a b"), point) == (
        "m\\,\\ x,device=a\\ b,end=x,line=a\\ b,namespace=default,t\\,\\ g=v\\=a\\ l f\\=1\\ a=21.5 1750000000123"
    )


@given(st.text(), st.text(min_size=1), st.text())
def test_whatever_is_in_a_sample_it_is_one_line(value: str, field: str, tag: str) -> None:
    line = line_of(sample(value.replace("\n", " "), "STRING"), InfluxPoint("m", field, (("t", tag),)))
    assert "\n" not in line
