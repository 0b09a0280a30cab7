"""KubeEdge's ways to read and write bytes of a Bluetooth device: `dataConverter` and `dataWrite`. Pure."""

import base64
import binascii
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from edgewire.config import nearest

from .ble_values import EXACT, Codec
from .driver import BadAnswer, DefinitionError, Value, ValueRefused, Wanted


class Operation(Struct, frozen=True, rename="camel"):
    """One step of a `dataConverter`."""

    operation_type: str
    operation_value: Decimal = Decimal(0)


class Converter(Struct, frozen=True, rename="camel"):
    """KubeEdge's `dataConverter`: bytes to an unsigned integer, shifted, then calculated with."""

    start_index: int = 0
    end_index: int = 0
    """Smaller than `startIndex`: the bytes are taken backwards, which makes little-endian of big-endian."""
    shift_left: int = 0
    shift_right: int = 0
    order_of_operations: Sequence[Operation] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.start_index < 512 and 0 <= self.end_index < 512):
            raise ValueError("`startIndex` and `endIndex` must lie between 0 and 511")
        if not (0 <= self.shift_left <= 64 and 0 <= self.shift_right <= 64):
            raise ValueError("`shiftLeft` and `shiftRight` must lie between 0 and 64")
        for step in self.order_of_operations:
            if step.operation_type not in _OPERATIONS:
                near = nearest(step.operation_type, list(_OPERATIONS))
                hint = f"did you mean {near}?" if near else f"one of {', '.join(_OPERATIONS)}"
                raise ValueError(f"`operationType` {step.operation_type!r} is not known: {hint}")
            if not step.operation_value.is_finite() or abs(step.operation_value.adjusted()) > 60:
                raise ValueError("`operationValue` must be a finite number")
            if step.operation_type == "Divide" and not step.operation_value:
                raise ValueError("`operationValue` must not be 0 to divide by")

    def decode(self, data: bytes) -> Value:
        """The number. Raises BadAnswer."""
        low, high = sorted((self.start_index, self.end_index))
        if len(data) <= high:
            raise BadAnswer(f"{len(data)} bytes, too few for a `dataConverter` that ends at {high}")
        part = data[low : high + 1]
        raw = int.from_bytes(part, "big" if self.start_index <= self.end_index else "little")
        number = Decimal(raw << self.shift_left >> self.shift_right)
        for step in self.order_of_operations:
            number = _OPERATIONS[step.operation_type](number, step.operation_value)
        if not self.order_of_operations or (
            number == number.to_integral_value(context=EXACT) and not number.adjusted() > 100
        ):
            return int(number)
        return float(number)

    def encode(self, value: Wanted) -> bytes:
        """Always ValueRefused: a `dataConverter` cannot be turned round."""
        raise ValueRefused("a `dataConverter` is for reading: name what to write in `dataWrite`")


_OPERATIONS = {"Add": EXACT.add, "Subtract": EXACT.subtract, "Multiply": EXACT.multiply, "Divide": EXACT.divide}


class Words(Struct, frozen=True):
    """KubeEdge's `dataWrite`: words that stand for bytes; other bytes are left to another codec."""

    words: dict[str, bytes]
    other: Codec | None

    def decode(self, data: bytes) -> Value:
        """The word for the bytes, or what the other codec makes of them. Raises BadAnswer."""
        found = next((word for word, known in self.words.items() if known == data), None)
        if found is not None:
            return found
        if self.other is None:
            raise BadAnswer(f"{data.hex() or 'nothing'} is none of the values in `dataWrite`")
        return self.other.decode(data)

    def encode(self, value: Wanted) -> bytes:
        """The bytes of a word. Raises ValueRefused, with the nearest word."""
        word = ("true" if value else "false") if isinstance(value, bool) else str(value)
        if word not in self.words:
            near = nearest(word, list(self.words))
            known = f"did you mean {near!r}?" if near else f"one of {', '.join(map(repr, self.words))}"
            raise ValueRefused(f"not in `dataWrite`: {known}")
        return self.words[word]


def written_bytes(content: object, word: str) -> bytes:
    """The bytes of one entry of `dataWrite`: a list of numbers, `0x…`, or base64 as KubeEdge has it. Raises DefinitionError."""
    try:
        if isinstance(content, list):
            return bytes(content)
        if isinstance(content, int) and not isinstance(content, bool):
            return bytes([content])
        if isinstance(content, str):
            if content[:2].lower() == "0x":
                return bytes.fromhex(content[2:])
            return base64.b64decode(content, validate=True)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise DefinitionError(f"`dataWrite` {word!r}: bytes are a list of numbers from 0 to 255, 0x… or base64")
