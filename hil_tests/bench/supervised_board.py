"""An emulated board's power, reset button and starts: what its supervisor does when told."""

from typing import Any

from hil_tests.bench.supervisor import Supervisor


class SupervisedBoard:
    """A board with a supervisor, which starts with the first order."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def powered(self) -> bool:
        """Whether it has power; also while it sleeps, or between two starts."""
        return self._supervisor.running and self.off_because not in ("never on", "off", "cut")

    @property
    def pid(self) -> int | None:
        """MicroPython's process; another one after each reset, none between two."""
        return self._order("state")["pid"] if self._supervisor.running else None

    @property
    def starts(self) -> int:
        """How often it started, for whatever reason."""
        return int(self._order("state")["starts"])

    @property
    def cause(self) -> str:
        """Why it started last: power-on, hard, watchdog, deepsleep or soft."""
        return str(self._order("state")["cause"])

    @property
    def off_because(self) -> str:
        """Why it does not run: never on, off, cut (`cut_power_after`), asleep, bootloader; empty while it does."""
        return str(self._order("state")["off"])

    def power_on(self) -> None:
        """Power on; nothing happens when it is."""
        self._order("on")

    def power_off(self) -> None:
        """Cut the power: SIGKILL, at whatever it is doing."""
        self._order("off")

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def reset(self) -> None:
        """Press the reset button."""
        self._order("reset")

    def cut_power_after(self, steps: int) -> None:
        """From the next start on, let the power fail in the middle of so manieth erase or program step of the flash, once."""
        self._order("cut_after", steps=steps)

    def close(self) -> None:
        """Take it off the desk; its folder stays."""
        self._supervisor.close()

    def _plug_in(self) -> None:
        """Called before the first order."""

    def _order(self, do: str, **more: object) -> dict[str, Any]:
        if not self._supervisor.running:
            self._plug_in()
        return self._supervisor.order(do, **more)
