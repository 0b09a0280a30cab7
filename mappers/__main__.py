"""`python -m mappers [mapper.yaml]`: one protocol's mapper.

The map of the process: the protocol's drivers, the core that knows its devices, and two services, the poller on the devices'
side and the connection on the broker's.
"""

import argparse
import asyncio
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from msgspec import Struct, field

from edgewire import config
from edgewire.service import serve_until_signalled

from .driver import Drivers
from .exchange import Exchange
from .mapper import Mapper
from .mqtt import BrokerConfig
from .plan import Settings

DRIVERS = {"modbus": ("mappers.modbus", "ModbusTcp")}
"""Protocol name -> module and class of its drivers; imported only when configured, for their libraries are heavy."""


class MapperConfig(Struct, frozen=True):
    """`mapper.yaml`."""

    protocol: str = "modbus"
    """Which devices to serve: those whose `protocol.protocolName` is this."""
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    """The gateway's MQTT broker."""
    devices: Settings = field(default_factory=Settings)
    """What holds for every device whose definition does not say otherwise."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        if self.protocol not in DRIVERS:
            near = config.nearest(self.protocol, list(DRIVERS))
            hint = f"did you mean `{near}`?" if near else f"known are {', '.join(f'`{p}`' for p in DRIVERS)}"
            raise ValueError(f"no driver for protocol `{self.protocol}`: {hint}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ValueError("`log_level` must be debug, info, warning or error")


def make_drivers(protocol: str) -> Drivers:
    """The drivers of a protocol of `DRIVERS`."""
    module, name = DRIVERS[protocol]
    return cast(Drivers, getattr(import_module(module), name)())


def make_exchange(configuration: MapperConfig) -> Exchange:
    """A mapper with its broker connection, ready to be served."""
    return Exchange(Mapper(make_drivers(configuration.protocol), configuration.devices), configuration.broker)


async def run(configuration: MapperConfig) -> None:
    """Serve until SIGINT or SIGTERM."""
    exchange = make_exchange(configuration)
    await serve_until_signalled(exchange.poller, exchange.connection)


def main() -> int:
    """The command line: 0 after SIGINT or SIGTERM, 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="mapper", description="Turns devices of one protocol into twins, over MQTT.")
    parser.add_argument("config", nargs="?", type=Path, help="mapper.yaml; without it, Modbus and 127.0.0.1:1883")
    parser.add_argument("--protocol", help=f"instead of the file's: {', '.join(DRIVERS)}")
    options = parser.parse_args()
    try:
        configuration = config.load(options.config, MapperConfig, {"protocol": options.protocol})
    except config.ConfigError as error:
        sys.stderr.write(f"mapper: {error}\n")
        return 2
    logging.basicConfig(level=configuration.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(run(configuration))
    return 0


if __name__ == "__main__":
    sys.exit(main())
