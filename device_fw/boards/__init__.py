"""What differs from board to board: pins, sensors, outputs, clock. One module a board, each with a class `Board`.

A `Board` is made from the configuration and offers `properties` (name -> `Property`), `read(name)`, `write(name, value)`,
`interval_ms` (how often to read), `unix_ms()` (0 while nobody knows the time) and `alive()`, called at every turn.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.contracts import Board


def load(config: "dict[str, object]") -> "Board":
    """The board that the configuration names. ImportError when there is none of that name."""
    module = __import__("device_fw.boards." + str(config["board"]), None, None, ("Board",))
    board: Board = module.Board(config)
    return board
