"""Configuration files: defaults, overrides, and mistakes reported with file, key and nearest known name."""

from pathlib import Path

import pytest
from msgspec import Struct, field

from edgewire.config import ConfigError, load, nearest, parse


class Broker(Struct, frozen=True):
    host: str = "127.0.0.1"
    port: int = 1883

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError("a port lies between 1 and 65535")


class Builtin(Struct, frozen=True, tag_field="kind", tag="builtin"):
    listen: str = ""


class External(Struct, frozen=True, tag_field="kind", tag="external"):
    host: str = ""


class Config(Struct, frozen=True):
    broker: Broker = field(default_factory=Broker)
    data_folder: Path = Path(".hedgerow")
    extra: Broker | None = None
    peers: list[Broker] = []
    named: dict[str, Broker] = {}
    source: Builtin | External | None = None
    limit_s: float = 30.0


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "edgecore.yaml"
    path.write_text(text)
    return path


def test_without_a_file_everything_has_its_default() -> None:
    assert load(None, Config) == Config()


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "# nothing yet\n"), Config) == Config()


def test_nested_values_lists_and_paths_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, "broker: {port: 1884}\ndata_folder: /var/lib\npeers: [{host: a}]\nnamed: {x: {port: 2}}\nlimit_s: 3\n"
    )
    got = load(path, Config)
    assert got == Config(
        broker=Broker(port=1884),
        data_folder=Path("/var/lib"),
        peers=[Broker("a")],
        named={"x": Broker(port=2)},
        limit_s=3,
    )


def test_overrides_win_over_the_file_and_none_is_not_given(tmp_path: Path) -> None:
    path = written(tmp_path, "broker: {host: h, port: 1884}\n")
    got = load(path, Config, {"broker.port": 1, "broker.host": None, "data_folder": Path("/x")})
    assert got == Config(broker=Broker("h", 1), data_folder=Path("/x"))


def test_overrides_reach_keys_the_file_leaves_empty(tmp_path: Path) -> None:
    assert load(written(tmp_path, "broker:\n"), Config, {"broker.port": 7}).broker.port == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brokr: {}", "unknown key `brokr` in edgecore.yaml: did you mean `broker`?"),
        ("broker: {prot: 1}", "unknown key `broker.prot` in edgecore.yaml: did you mean `broker.port`?"),
        ("Broker: {}", "unknown key `Broker` in edgecore.yaml: did you mean `broker`?"),
        ("extra: {hots: x}", "unknown key `extra.hots` in edgecore.yaml: did you mean `extra.host`?"),
        ("peers: [{}, {hots: x}]", "unknown key `peers[1].hots` in edgecore.yaml: did you mean `peers[1].host`?"),
        ("named: {x: {hots: x}}", "unknown key `named.x.hots` in edgecore.yaml: did you mean `named.x.host`?"),
        ("broker: {zzz: 1}", "unknown key `broker.zzz` in edgecore.yaml: known are `broker.host`, `broker.port`"),
        (
            "source: {kind: external, hsot: x}",
            "unknown key `source.hsot` in edgecore.yaml: did you mean `source.host`?",
        ),
        ("broker: {port: high}", "`broker.port` in edgecore.yaml: expected `int`, got `str`"),
        ("broker: {port: 0}", "`broker` in edgecore.yaml: a port lies between 1 and 65535"),
        ("peers: [{port: x}]", "`peers[0].port` in edgecore.yaml: expected `int`, got `str`"),
        ("data_folder: 7", "`data_folder` in edgecore.yaml: expected `Path`, got `int`"),
        ("source: {kind: nothing}", "`source.kind` in edgecore.yaml: invalid value 'nothing'"),
        ("- a list", "edgecore.yaml must hold keys and values, not a list"),
    ],
)
def test_a_mistake_is_reported_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), Config)
    assert str(caught.value) == message


def test_broken_yaml_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"edgecore.yaml is not valid YAML: .* \(line 2, column"):
        load(written(tmp_path, "broker:\n  host: }\n"), Config)


def test_a_missing_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent.yaml: No such file or directory"):
        load(tmp_path / "absent.yaml", Config)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path, Config)


def test_an_override_below_a_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`limit_s` in edgecore.yaml: expected keys and values"):
        load(written(tmp_path, "limit_s: 3"), Config, {"limit_s.x": 1})


def test_a_misspelt_option_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `broker.prot` in the options: did you mean `broker.port`"):
        load(None, Config, {"broker.prot": 1})


def test_nearest_gives_nothing_when_nothing_is_near() -> None:
    assert nearest("Voltage", ["voltage", "current"]) == "voltage"
    assert nearest("qqq", ["voltage", "current"]) is None


def test_numbers_may_be_strings_where_strictness_is_waived() -> None:
    assert parse({"port": "1884"}, Broker, "configData", strict=False).port == 1884
    with pytest.raises(ConfigError, match="`port` in configData: expected `int`, got `str`"):
        parse({"port": "1884"}, Broker, "configData")
