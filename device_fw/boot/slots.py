"""What the slots of a board's flash hold, and which one is active: as the boot code found it, and as the firmware asks for it.

Two slots, `a` and `b`, hold an image each: its files as the signed manifest names them, the manifest, and its signature. One
is active; an update goes into the other one and is tried once. What changes that is in `changes.py`.

The firmware has a `Slots` for as long as it runs, so this stays in memory; `choice.py` and `changes.py` do not.
"""

import sys

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECOVERY = "recovery"  # edgewire.ota_codes has them, too
NONE = "none"
RECORD = "slots.json"
NEW, STARTED = "new", "started"  # stages of a trial; any other is the reason for which it ended


class Slots:
    """What the boot code knows, and what the firmware may ask it to do. Each change is on flash when its call returns.

    What is seldom asked for, the functions of `changes.py`, is imported for each call and forgotten after it.
    """

    def __init__(
        self,
        root: str,
        identity: "dict[str, Any]",
        record: "dict[str, Any]",
        known: bool,
        log: "Callable[..., None]",
    ) -> None:
        """`root` is the folder that is the board's flash, empty for the root folder; `known`: there was a record."""
        self.root = root
        self.record = record
        self.known = known
        self.log = log
        self.identity = identity
        self.board: str = identity["board"]
        self.watchdog_ms: int = identity["watchdog_ms"]
        self.trial_s: int = identity["trial_s"]
        self.runtime = ".".join([str(part) for part in sys.implementation.version[:3]])
        self.bytecode: int = getattr(sys.implementation, "_mpy", 0)  # what it loads; 0: none
        self.slot = ""  # that runs
        self.id = ""  # of the image that runs, and its version
        self.version = RECOVERY
        self.reason: str = NONE  # for which recovery runs

    @property
    def passive(self) -> str:
        """The slot that an update goes into."""
        return "b" if self.record["active"] == "a" else "a"

    @property
    def on_trial(self) -> bool:
        """Whether what runs still has to prove itself."""
        trial = self.record["trial"]
        return trial is not None and trial[4] == STARTED and trial[0] == self.slot

    def folder(self, slot: str) -> str:
        """Where a slot's files are."""
        return self.root + "/" + slot

    def well(self) -> None:
        """The active firmware has reached the gateway: forget its crashes."""
        if self.record["crashes"] and self.slot == self.record["active"]:
            self.change(crashes=0)

    def __getattr__(self, name: str) -> "Any":
        """A function of `changes.py`, with these slots as its first argument."""
        if name[0] == "_":  # of Python's own, such as those for copies
            raise AttributeError(name)
        package = __name__.rsplit(".", 1)[0]
        step = getattr(__import__(package + ".changes", None, None, (name,)), name)
        forget(package + ".changes")
        return lambda *given, **named: step(self, *given, **named)


def forget(name: str) -> None:
    """Let go of a module, if it was imported.

    MicroPython leaves the value of a deleted entry where it was until another one needs the place; so each is None before.
    """
    modules: "dict[str, Any]" = sys.modules
    if name in modules:
        modules[name] = None
        del modules[name]
        package, _, last = name.rpartition(".")
        if hasattr(modules.get(package), last):
            setattr(modules[package], last, None)
            delattr(modules[package], last)
