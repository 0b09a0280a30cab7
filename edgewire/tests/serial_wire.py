"""Two ends of a board's serial link and a line between them that a test can spoil; also runs on MicroPython."""

from edgewire.board_end import BoardEnd
from edgewire.board_frames import ACK, HELLO, LOST, TEXT, TIME, WELCOME
from edgewire.gateway_end import GatewayEnd

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable

    from edgewire.board_link import Event

_SIGNS = (ACK, HELLO, WELCOME, LOST, TEXT, TIME)
LATER_MS = 50


class Line:
    """Carries bytes between a board and the gateway, on a clock of its own."""

    def __init__(self, board: "BoardEnd | None" = None, gateway: "GatewayEnd | None" = None) -> None:
        self.now = 1000
        self.board = board or BoardEnd("default/b1", 7)
        self.gateway = gateway or GatewayEnd(99)
        self.spoil: "Callable[[bytes], bytes]" = lambda data: data
        self.at_board: "list[Event]" = []
        self.at_gateway: "list[Event]" = []
        self.events: "list[tuple[str, int, bytes]]" = []
        """All events, as (end, kind, content)."""

    def carry(self) -> bool:
        """Take what both ends have to say to the other; whether there was anything."""
        up, down = self.board.output(), self.gateway.output()
        if up:
            self._note("gateway", self.gateway.receive(self.spoil(up), self.now))
        if down:
            self._note("board", self.board.receive(self.spoil(down), self.now))
        return bool(up or down)

    def settle(self) -> None:
        """Carry until both are silent."""
        for _ in range(10000):
            if not self.carry():
                return
        raise AssertionError("the two go on for ever")

    def wait(self, ms: int) -> None:
        """Let time pass."""
        until = self.now + ms
        while self.now < until:
            self.now = min(until, self.now + LATER_MS)
            self._note("gateway", self.gateway.tick(self.now))
            self._note("board", self.board.tick(self.now))
            self.settle()

    def connect(self) -> None:
        """Begin a session."""
        self.board.connect(self.now)
        self.settle()

    def names(self, end: str) -> "list[int]":
        """The kinds of events at one end, ACK and TIME left out."""
        return [kind for where, kind, _ in self.events if where == end and kind not in (ACK, TIME)]

    def _note(self, end: str, events: "list[Event]") -> None:
        for kind, content in events:
            self.events.append((end, kind, content))
            if kind not in _SIGNS:
                (self.at_gateway if end == "gateway" else self.at_board).append((kind, content))
