"""What Prometheus reads."""

from mappers.gauges import Gauges
from mappers.push import Gauge, Sample

TEMP = Gauge("temp_celsius", (("line", "3"),), "Of the boiler, °C")


def sample(value: str, device: str = "default/a", type: str = "FLOAT", property: str = "temp") -> Sample:
    return Sample(device, property, value, type, "", 0)


def gauges(*devices: str) -> Gauges:
    found = Gauges()
    for device in devices:
        found.state(device, online=True)
    return found


def test_each_metric_has_its_help_and_type_once() -> None:
    found = gauges("default/a", "default/b")
    found.set(TEMP, sample("21.5"))
    found.set(TEMP, sample("22", "default/b"))
    assert found.text() == (
        "# HELP hedgerow_device_up Whether the device is online.\n"
        "# TYPE hedgerow_device_up gauge\n"
        'hedgerow_device_up{namespace="default",device="a"} 1\n'
        'hedgerow_device_up{namespace="default",device="b"} 1\n'
        "# HELP temp_celsius Of the boiler, °C\n"
        "# TYPE temp_celsius gauge\n"
        'temp_celsius{namespace="default",device="a",line="3"} 21.5\n'
        'temp_celsius{namespace="default",device="b",line="3"} 22\n'
    )


def test_nothing_is_an_empty_text() -> None:
    assert Gauges().text() == ""


def test_what_a_label_or_a_help_may_not_hold_is_escaped() -> None:
    found = gauges("default/a")
    found.set(Gauge("m", (("l", 'a"b\\c\nd'),), "x\\y\nz"), sample("1"))
    assert 'l="a\\"b\\\\c\\nd"' in found.text()
    assert "# HELP m x\\\\y\\nz\n" in found.text()


def test_numbers_are_written_as_prometheus_reads_them() -> None:
    found = gauges("default/a")
    values = [
        ("nan", "FLOAT"),
        ("-inf", "FLOAT"),
        ("inf", "FLOAT"),
        ("true", "BOOLEAN"),
        ("false", "BOOLEAN"),
        ("1E+25", "DOUBLE"),
    ]
    for number, (value, type) in enumerate(values):
        found.set(Gauge(f"m{number}", (), "h"), sample(value, type=type, property=f"p{number}"))
    assert [line.split()[1] for line in found.text().splitlines() if line.startswith("m")] == [
        "NaN", "-Inf", "+Inf", "1", "0", "1E+25",
    ]  # fmt: skip


def test_a_device_that_is_not_online_shows_no_old_values_until_it_is_back() -> None:
    found = gauges("default/a")
    found.set(TEMP, sample("21.5"))
    found.state("default/a", online=False)
    assert "temp_celsius" not in found.text()
    assert 'hedgerow_device_up{namespace="default",device="a"} 0' in found.text()
    found.state("default/a", online=True)
    assert "temp_celsius{" in found.text()


def test_gauges_nobody_asks_for_any_more_are_gone() -> None:
    found = gauges("default/a")
    found.set(TEMP, sample("1"))
    found.set(Gauge("other", (), "h"), sample("2", property="other"))
    found.keep("default/a", ["other"])
    assert ("temp_celsius" in found.text(), "other{" in found.text()) == (False, True)
    found.keep("default/a", [])
    assert "other" not in found.text()
    found.forget("default/a")
    assert found.text() == ""


def test_two_properties_of_one_series_are_one_line() -> None:
    found = gauges("default/a")
    found.set(TEMP, sample("1"))
    found.set(TEMP, sample("1", property="twin"))
    assert found.text().count("temp_celsius{") == 1
