"""One board at its raw REPL, from what is on it to what should be: read, plan, write, read back, reset."""

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from device_fw.tools import OLDEST_RUNTIME, flash_plan, flash_runtime
from device_fw.tools.errors import FirmwareError
from device_fw.tools.flash_board import BoardConnection, Facts
from device_fw.tools.flash_errors import (
    BoardLost,
    FlashError,
    NoBoard,
    NoSpace,
    RuntimeFailed,
    RuntimeTooOld,
    VerifyFailed,
    WrongBoard,
)
from device_fw.tools.flash_order import Order, Outcome, Show
from device_fw.tools.flash_plan import Write

CONFIG = "config.json"
OWN = (CONFIG, f"recovery/{CONFIG}")
"""What is every board's own."""
PROVISIONED = (
    *("host", "port", "user", "password", "client_id", "wifi_ssid", "wifi_password"),
    *("ca", "server_name", "certificate", "key"),
)
"""Keys of `config.json` that stay when a board is flashed again without them."""
_FRUITLESS = 2
_POLL_S = 0.1


class Session:
    """One board from its first command to its reset, over as many losses of the line as bring it forward."""

    def __init__(self, order: Order, show: Show, port: str) -> None:
        self._order = order
        self._show = show
        self._port = port
        self._board = BoardConnection(port, order.on_command, order.answer_s, show.step)
        self._written = 0
        self._password: tuple[str, str] | None = None
        self._done: dict[str, flash_plan.Step] = {}

    def complete(self) -> Outcome:
        """Bring the board to where it should be, and prove it."""
        fruitless = 0
        while True:
            before = self._written
            try:
                self._open()
                return self._once()
            except BoardLost as error:
                # A watchdog that the firmware left armed resets a board that is being written: what it has, it keeps.
                fruitless = 0 if self._written > before else fruitless + 1
                self._board.close()
                if fruitless == _FRUITLESS:
                    raise
                self._show.step(f"The board went away, going on: {error}")
            except BaseException as error:
                if isinstance(error, FirmwareError) and not self._done and not self._written:
                    with contextlib.suppress(FlashError):
                        self._board.reset()  # nothing was changed: the firmware that was stopped goes on
                self._board.close()
                raise

    def reset(self) -> None:
        """Start what was written."""
        try:
            self._board.reset()
        finally:
            self._board.close()

    def _open(self) -> None:
        begun = time.monotonic()
        while True:
            try:
                return self._board.open(self._order.patience_s)
            except NoBoard as error:
                if time.monotonic() - begun > self._order.patience_s:
                    raise BoardLost(f"the board at {self._port} does not come back: {error}") from error
                time.sleep(_POLL_S)

    def _once(self) -> Outcome:
        order, show = self._order, self._show
        facts = self._board.facts()
        show.step(f"{facts.machine or facts.platform}, MicroPython {facts.release}, {facts.unique_id}")
        check(order, facts)
        show.step("Read what is on the board")
        present = self._board.files()
        configuration = self._configuration(present)
        check_network(order, facts, configuration)
        layout = order.firmware.layout(facts, configuration, self._board.read)
        plan = flash_plan.steps(layout.files, present, kept=layout.kept, gone=layout.gone)
        if missing := flash_plan.lacking(plan, present, facts.free, facts.block):
            raise NoSpace(
                f"the board has {facts.free} bytes free, {missing} too few: remove files of yours from it (`mpremote fs ls`), "
                "or leave drivers out of its board file"
            )
        if order.dry_run:
            for step in plan:
                show.step(f"Would {step}")
            self.reset()  # the firmware that was stopped goes on
        else:
            self._carry_out(plan)
            self._verify(layout.files)
        if order.dry_run:
            self._done.update({step.path: step for step in plan})
        return Outcome(
            port=self._port,
            facts=facts,
            device=str(configuration["name"]),
            written=tuple(path for path, step in self._done.items() if isinstance(step, Write)),
            removed=tuple(path for path, step in self._done.items() if not isinstance(step, Write)),
            version=order.firmware.version,
            image=image_hash(layout.files),
            password=self._password[1] if self._password is not None else "",
            configuration=configuration,
        )

    def _carry_out(self, plan: list[flash_plan.Step]) -> None:
        total = sum(len(step.content) for step in plan if isinstance(step, Write))
        done = 0

        def wrote(size: int) -> None:
            nonlocal done
            done += size
            self._written += size
            self._show.progress(done / total if total else 1.0)

        writes = sum(isinstance(step, Write) for step in plan)
        if plan:
            self._show.step(f"Write {writes} files, {total} bytes; remove {len(plan) - writes}")
        for step in plan:
            if isinstance(step, Write):
                self._board.write(step, wrote)
            else:
                self._board.remove(step.path)
            self._done[step.path] = step

    def _verify(self, wanted: Mapping[str, bytes]) -> None:
        self._show.step(f"Read {len(wanted)} files back")
        if others := flash_plan.differences(wanted, self._board.files()):
            raise VerifyFailed(
                f"what is on the board is not what was written: {', '.join(others[:5])}. Run this again; if it happens twice, "
                "its flash is worn out, or something else writes to it"
            )

    def _configuration(self, present: Mapping[str, flash_plan.Present]) -> dict[str, Any]:
        """The board file's, what is provisioned now, and of what is not, what the board has."""
        there = self._provisioned(present)
        configuration = {**there, **self._order.firmware.configuration, **self._order.settings}
        if configuration.get("transport", "mqtt") != "mqtt":
            return configuration
        if not configuration.get("host"):
            raise FlashError("the board does not know its gateway yet: give --gateway HOST[:PORT]")
        device = str(configuration["name"])
        asked = {**self._order.firmware.configuration, **self._order.settings}.get("user")
        user, password = str(there.get("user", "")), str(there.get("password", ""))
        if user and (not asked or asked == user) and self._accepted(user, password):
            return {**configuration, "user": user, "password": password}
        # What a board says of itself must not name whose password is changed at the broker.
        user = str(asked or device)
        if self._password is None or self._password[0] != user:
            self._password = user, secrets.token_urlsafe(18)
        if self._order.users is not None and not self._order.dry_run:
            self._show.step(f"Let {user} in at the broker")
            self._order.users.store(user, self._password[1], device)
        return {**configuration, "user": user, "password": self._password[1]}

    def _accepted(self, user: str, password: str) -> bool:
        return bool(password) and (self._order.users is None or self._order.users.accepts(user, password))

    def _provisioned(self, present: Mapping[str, flash_plan.Present]) -> dict[str, Any]:
        if CONFIG not in present:
            return {}
        try:
            found = json.loads(self._board.read(CONFIG) or b"{}")
        except (ValueError, RecursionError):
            return {}  # half of one, from an interrupted call of another tool
        if not isinstance(found, dict):
            return {}
        own = self._order.firmware.configuration
        kept = {key: found[key] for key in PROVISIONED if key in found and (key not in own or key == "user")}
        if kept.get("user") == found.get("name") != own["name"]:  # it was another device before
            kept = {key: value for key, value in kept.items() if key not in ("user", "password")}
        return {key: value for key, value in kept.items() if isinstance(value, str | int)}


def check(order: Order, facts: Facts) -> None:
    """Whether it is the board that is meant, with the runtime that is. WrongBoard, RuntimeTooOld, RuntimeFailed."""
    firmware, runtime = order.firmware, order.runtime
    if runtime is not None and not facts.banner.startswith(runtime.banner):
        raise RuntimeFailed(
            f"the board runs {facts.banner}, not {runtime.banner} that was written to it: run this again"
        )
    if facts.platform != firmware.platform:
        raise WrongBoard(
            f"this firmware is for {firmware.board} ({firmware.platform}), and the board is {facts.machine or 'another'} "
            f"({facts.platform}): plug in the other board, or name the right one in the board file (`board:`)"
        )
    if facts.version < tuple(map(int, OLDEST_RUNTIME.split("."))):
        raise RuntimeTooOld(
            f"the board runs MicroPython {facts.release}; the firmware needs {OLDEST_RUNTIME} or newer: "
            "download one from micropython.org/download and write it with --runtime IMAGE"
        )


def check_network(order: Order, facts: Facts, configuration: Mapping[str, Any]) -> None:
    """Whether a board that shall join a Wi-Fi has one: a Pico and a Pico W look the same until here. WrongBoard."""
    if configuration.get("wifi_ssid") and not facts.network and facts.platform in flash_runtime.PLATFORMS:
        raise WrongBoard(
            f"the MicroPython on this {facts.machine or 'board'} has no network, and {configuration['wifi_ssid']!r} is to be "
            f"joined: is it a {order.firmware.board}? Then write the image for that board with --runtime IMAGE"
        )


def image_hash(wanted: Mapping[str, bytes]) -> str:
    """sha256 over the paths and contents of all files but the configuration, which is every board's own."""
    total = hashlib.sha256()
    for path in sorted(wanted):
        if path not in OWN:
            total.update(path.encode() + b"\0" + hashlib.sha256(wanted[path]).digest())
    return total.hexdigest()
