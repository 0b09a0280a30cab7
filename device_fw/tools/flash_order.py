"""What is asked for when a board is flashed, what came of it, and whom the flashing needs, as protocols."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_runtime import Runtime
from device_fw.tools.flash_transport import ANSWER_S

BACK_S = 60.0
"""How long a board may be away after a reset or a loss of power, and how long it is tried to get at its raw REPL."""


@dataclass(frozen=True)
class Layout:
    """What a board should hold."""

    files: Mapping[str, bytes]
    """Path without a leading slash -> content, `config.json` among them."""
    kept: tuple[str, ...] = ()
    """Files and folders that the firmware writes itself; they stay."""
    gone: tuple[str, ...] = ()
    """Top folders and files of which nothing stays that is not wanted."""


class Firmware(Protocol):
    """What is to be on the board."""

    @property
    def board(self) -> str:
        """What it is for."""

    @property
    def platform(self) -> str:
        """`sys.platform` of such a board."""

    @property
    def version(self) -> str:
        """As boards report it."""

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What `config.json` says, but for what is provisioned: gateway, Wi-Fi, credentials."""

    def layout(self, facts: Facts, configuration: Mapping[str, Any], read: Callable[[str], bytes | None]) -> Layout:
        """Every file of a board like this with this `config.json`. FirmwareError when it cannot be.

        `read` gives a small file of the board as it is, None when there is none.
        """


class Users(Protocol):
    """The users of the gateway's broker."""

    def accepts(self, user: str, password: str) -> bool:
        """Whether the broker lets this user in with this password."""

    def store(self, user: str, password: str, device: str) -> None:
        """Let it in, as the device's own user."""


class Show(Protocol):
    """What the person in front of it sees."""

    def step(self, text: str) -> None:
        """Something begins."""

    def progress(self, part: float) -> None:
        """How much of it is done, 0 to 1."""


class Report(Protocol):
    """Somebody who hears the device at the gateway, from before the reset on."""

    def wait(self) -> str:
        """What it said first. NoReport when it says nothing."""


@dataclass
class Order:
    """What is asked for."""

    firmware: Firmware
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of `config.json` that are provisioned: `host`, `port`, Wi-Fi. What is not given here stays as it is on the board."""
    port: str = ""
    """A path or USB serial number; empty: the only board."""
    runtime: Runtime | None = None
    """MicroPython, to be written unless the board runs just this one."""
    drive: Path | None = None
    """Where the boot loader's drive is; None: wherever it is mounted."""
    baud: int = 460_800
    stub: bool = True
    users: Users | None = None
    listen: Callable[[Mapping[str, Any]], Report] | None = None
    """Begins to listen for the device of this configuration; None: nobody waits for its report."""
    before_start: "Callable[[Outcome], None] | None" = None
    """Called when the board is complete, before it is reset."""
    dry_run: bool = False
    on_command: Callable[[], None] | None = None
    """Called before each command that the board is sent."""
    patience_s: float = BACK_S
    answer_s: float = ANSWER_S
    """A board that is silent for so long in the midst of a command is lost."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    port: str
    facts: Facts | None
    """None after a dry run whose board has no runtime yet."""
    device: str
    written: tuple[str, ...]
    """The files that were not there, or others; those that would be written, of a dry run."""
    removed: tuple[str, ...]
    version: str
    """Of the firmware."""
    image: str
    """sha256 over all files and their paths, but for the configuration."""
    password: str
    """The device's own at the broker, when it is new; empty when it stays."""
    configuration: dict[str, Any] = field(default_factory=dict)
    report: str = ""
