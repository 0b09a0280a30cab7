"""`python -m mappers [mapper.yaml | PROTOCOL ...]`: the mappers of a gateway, one a protocol.

The map of the process: for each protocol its drivers, the core that knows its devices, and two services, the poller on the
devices' side and the connection on the broker's; each such mapper is supervised, so that none takes another down.
"""

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from msgspec import Struct, field
from msgspec.structs import replace

from edgewire import config
from edgewire.service import Service, serve_until_signalled

from .driver import Drivers
from .exchange import Exchange
from .gauges import Gauges
from .mapper import Mapper
from .metrics import MetricsConfig, MetricsServer
from .mqtt import BrokerConfig
from .outlets import Outlets
from .plan import Settings
from .pusher import PushConfig, Pusher
from .supervised import SupervisedMapper

DRIVERS = {
    "modbus": ("mappers.modbus", "Modbus"),
    "serial": ("mappers.serial_line", "SerialLines"),
    "ble": ("mappers.ble", "Ble"),
    "bluetooth": ("mappers.ble", "Ble"),
}
"""Protocol name -> module and class of its drivers; imported only when configured, for their libraries are heavy."""


_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,63}")


class OneMapper(Struct, frozen=True):
    """One of several mappers in a process."""

    protocol: str = ""
    """Which devices to serve: those whose `protocol.protocolName` is this."""
    driver: str = ""
    """Instead of `protocol`, a driver of your own: `package.module:Class`; it says which protocol it is."""
    options: dict[str, Any] = field(default_factory=dict)
    """The driver's own settings, which hold for all its devices."""
    devices: Settings | None = None
    """Instead of the file's `devices`."""

    def __post_init__(self) -> None:
        if bool(self.protocol) == bool(self.driver):
            raise ValueError("either `protocol` or `driver` must be given")
        if self.protocol:
            _check_protocol(self.protocol)

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return self.protocol or self.driver


class MapperConfig(Struct, frozen=True):
    """`mapper.yaml`."""

    protocol: str = ""
    """Which devices to serve: those whose `protocol.protocolName` is this. modbus, unless `mappers` says otherwise."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its driver's own settings, which hold for all its devices."""
    mappers: list[OneMapper] = field(default_factory=list)
    """Several protocols in one process, instead of `protocol`."""
    instance: str = ""
    """Its name among several mappers of one protocol on a gateway: `roof` serves the devices whose `protocol.protocolName` is
    `modbus@roof`, and those only."""
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    """The gateway's MQTT broker."""
    devices: Settings = field(default_factory=Settings)
    """What holds for every device whose definition does not say otherwise."""
    push: PushConfig = field(default_factory=PushConfig)
    """What a property's `pushMethod` needs to know beside what stands in its Device."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """`/metrics` for Prometheus."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        if self.protocol:
            _check_protocol(self.protocol)
        names = [DRIVERS.get(one.protocol, one.driver) for one in self.mappers]  # ble and bluetooth are one
        if self.protocol and names:
            raise ValueError("`protocol` is for one mapper, `mappers` for several: leave one of them out")
        if self.options and names:
            raise ValueError("`options` is for one mapper: with `mappers` give each its own")
        if len(set(names)) < len(names):
            raise ValueError("`mappers` names one twice: one mapper serves all devices of a protocol")
        if self.instance and not _INSTANCE.fullmatch(self.instance):
            raise ValueError(f"`instance` {self.instance!r} is not of up to 63 letters, digits, `-`, `.` and `_`")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ValueError("`log_level` must be debug, info, warning or error")

    @property
    def each(self) -> list[OneMapper]:
        """The mappers to run, with the settings that hold for each."""
        named = self.mappers or [OneMapper(self.protocol or "modbus", options=self.options)]
        return [replace(one, devices=one.devices or self.devices) for one in named]


def _check_protocol(protocol: str) -> None:
    if protocol not in DRIVERS:
        raise ValueError(_no_driver(protocol))


def _no_driver(protocol: str) -> str:
    near = config.nearest(protocol, list(DRIVERS))
    hint = f"did you mean `{near}`?" if near else f"known are {', '.join(f'`{p}`' for p in DRIVERS)}"
    return f"no driver for protocol `{protocol}`: {hint}"


def make_drivers(name: str, options: Mapping[str, Any] | None = None) -> Drivers:
    """The drivers of a protocol of `DRIVERS`, or of one's own, `package.module:Class`.

    `options` are read into the struct that the class names as its `settings_type`, and given to it. Raises ImportError, and
    ConfigError for options that it does not have.
    """
    module, _, class_name = name.partition(":") if ":" in name else (DRIVERS[name][0], "", DRIVERS[name][1])
    found = getattr(import_module(module), class_name, None)
    if found is None:
        raise ImportError(f"there is no {class_name} in {module}")
    settings = getattr(found, "settings_type", None)
    if settings is not None:
        return cast(Drivers, found(config.parse(dict(options or {}), settings, f"`options` of {name}")))
    if options:
        raise config.ConfigError(f"`options`: the driver {name} has none")
    return cast(Drivers, found())


def make_services(configuration: MapperConfig) -> list[Service]:
    """The configured mappers and what they share, ready to be served. Raises ImportError for a missing library, ConfigError."""
    pusher, gauges = Pusher(configuration.push, configuration.broker), Gauges()
    outlets = Outlets(pusher, gauges)
    metrics = [MetricsServer(configuration.metrics, gauges.text)] if configuration.metrics.port else []
    mappers = [_supervised(one, configuration, outlets) for one in configuration.each]
    return [pusher, *metrics, *mappers]


def from_environment(environment: Mapping[str, str]) -> dict[str, str | int]:
    """What the environment says of the broker and the mapper, as overrides for `config.load`: for a pod, whose password
    comes from a Secret.

    Empty ones count as not given. Raises ConfigError for a port that is no number.
    """
    found: dict[str, str | int] = {}
    for name in ("host", "port", "user", "password"):
        variable = f"HEDGEROW_BROKER_{name.upper()}"
        value = environment.get(variable, "")
        if name == "port" and value and not value.isdecimal():
            raise config.ConfigError(f"{variable} is {value!r}, not a number")
        if value:
            found[f"broker.{name}"] = int(value) if name == "port" else value
    if instance := environment.get("HEDGEROW_MAPPER_INSTANCE", ""):
        found["instance"] = instance
    return found


def configurations(names: Sequence[str], overrides: Mapping[str, Any]) -> list[MapperConfig]:
    """What to run: a configuration of each file among `names`, and one of all the protocols among them.

    Without names it is a configuration of its defaults. Raises ConfigError, for a protocol that two of them serve too.
    """
    protocols = [name for name in names if name in DRIVERS]
    files = [name for name in names if name not in DRIVERS]
    for name in files:
        if not {"/", "."} & set(name) and not Path(name).exists():
            raise config.ConfigError(_no_driver(name))
    found = [config.load(Path(file), MapperConfig, overrides) for file in files]
    if protocols or not files:
        several = [{"protocol": protocol} for protocol in protocols] or None
        found.append(config.load(None, MapperConfig, {**overrides, "mappers": several}))
    drivers = [(DRIVERS.get(one.protocol, one.driver), each.instance) for each in found for one in each.each]
    if len(set(drivers)) < len(drivers):
        raise config.ConfigError("a protocol is named twice: one mapper serves all devices of a protocol")
    if len(found) > 1 and overrides.get("metrics.port") is not None:
        raise config.ConfigError("--metrics-port is for one configuration: with several, each says its own")
    return found


async def run(configured: Sequence[MapperConfig], *, stop_with_stdin: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or until standard input ends."""
    if stop_with_stdin:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _end_with_stdin)
    await serve_until_signalled(*(service for one in configured for service in make_services(one)))


def _end_with_stdin() -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


def _supervised(one: OneMapper, configuration: MapperConfig, outlets: Outlets) -> SupervisedMapper:
    drivers, broker = make_drivers(one.name, one.options), configuration.broker
    if broker.client_id and len(configuration.mappers) > 1:
        broker = replace(broker, client_id=f"{broker.client_id}-{drivers.protocol}")

    def exchange() -> Exchange:
        return Exchange(Mapper(drivers, one.devices, instance=configuration.instance), broker, outlets)

    return SupervisedMapper(drivers.protocol, exchange)


def main() -> int:
    """The command line: 0 after SIGINT or SIGTERM, 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="mapper", description="Turns devices into twins, over MQTT.")
    known = ", ".join(DRIVERS)
    parser.add_argument("config", nargs="*", help=f"mapper.yaml, or a protocol: {known}; without any, modbus")
    parser.add_argument("--protocol", help="instead of the file's")
    parser.add_argument(
        "--instance", help="its name among mappers of one protocol: serves `<protocol>@<instance>` only"
    )
    parser.add_argument("--metrics-port", type=int, help="serve /metrics there, instead of the file's port")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input does: for a supervisor")
    options = parser.parse_args()
    given = {"protocol": options.protocol, "metrics.port": options.metrics_port}
    try:
        of_environment = from_environment(os.environ)
        if options.instance:
            of_environment["instance"] = options.instance
        configured = configurations(options.config, {**given, **of_environment})
        level = min(logging.getLevelNamesMapping()[one.log_level.upper()] for one in configured)
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        asyncio.run(run(configured, stop_with_stdin=options.stop_with_stdin))
    except config.ConfigError as error:
        sys.stderr.write(f"mapper: {error}\n")
        return 2
    except ImportError as error:
        sys.stderr.write(
            f"mapper: a driver cannot be imported, or a library of hedgerow[mappers] is missing: {error}\n"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
