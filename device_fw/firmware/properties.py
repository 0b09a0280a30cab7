"""Properties of a device as its firmware knows them: type, limits and dead band; values to text and back. Pure.

On the wire every value is a string (protocol document, section 3); inside the firmware it has its own type.
"""

TYPES = ("string", "int", "float", "boolean")


class Property:
    """One property: what it accepts as desired, how it is written, and how far it must move to be reported."""

    def __init__(
        self,
        type: str = "string",
        writable: bool = False,
        dead_band: float = 0,
        minimum: "float | None" = None,
        maximum: "float | None" = None,
        values: "list[str] | None" = None,
        digits: int = 3,
        log: bool = False,
    ) -> None:
        """`dead_band` is in the property's own unit, `digits` are kept after the point. ValueError for an unknown type.

        With `log` every reading is kept on flash while there is no link.
        """
        if type not in TYPES:
            raise ValueError("type {} is none of {}".format(type, ", ".join(TYPES)))
        self.type = type
        self.writable = writable
        self.dead_band = dead_band
        self.minimum = minimum
        self.maximum = maximum
        self.values = values
        self.digits = digits
        self.log = log

    def parse(self, text: str) -> "str | int | float | bool":
        """A desired value as the output takes it. ValueError when it has another type or lies outside the limits."""
        if self.type == "boolean":
            if text.lower() not in ("true", "false"):
                raise ValueError("neither true nor false")
            return text.lower() == "true"
        if self.values and text not in self.values:
            raise ValueError("none of " + ", ".join(self.values))
        if self.type == "string":
            return text
        value = int(text) if self.type == "int" else float(text)
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("no finite number")
        if self.minimum is not None and value < self.minimum:
            raise ValueError("below {}".format(self.minimum))
        if self.maximum is not None and value > self.maximum:
            raise ValueError("above {}".format(self.maximum))
        return value

    def text(self, value: "str | int | float | bool") -> str:
        """A reading as it is reported, without needless zeros: `21.5`, `7`, `true`. ValueError when it is no finite number."""
        if self.type == "boolean":
            return "true" if value else "false"
        if self.type == "string":
            return str(value)
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError("no finite number")
        if self.type == "int":
            return str(int(value))
        text = "{:.{}f}".format(number, self.digits)
        return text.rstrip("0").rstrip(".") if "." in text else text

    def moved(self, before: str, now: str) -> bool:
        """Whether a reading (as text) is worth a report after the one reported before."""
        if self.dead_band and self.type in ("int", "float"):
            return abs(float(now) - float(before)) >= self.dead_band
        return now != before
