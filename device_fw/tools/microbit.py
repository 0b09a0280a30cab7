"""Makes a hex file for a BBC micro:bit V1: its MicroPython, the small firmware, and what it is called.

    python -m device_fw.tools.microbit default/microbit-1 firmware.hex       drag it onto the drive MICROBIT

The firmware is compiled on the board, whose heap has 8 kB: words and blanks are taken out before, and names of numbers replaced.
"""

import argparse
import ast
from pathlib import Path

from device_fw.tools.errors import FirmwareError

_SOURCES = Path(__file__).resolve().parents[1] / "small/microbit"
_LONGEST_NAME = 64


def build(name: str, *, simulated: bool = False) -> str:
    """The hex file of the device `<namespace>/<name>`. FirmwareError for a name that is none, or without micropython-microbit-fs.

    `simulated`: its thermometer is, as an emulator needs it.
    """
    namespace, _, rest = name.partition("/")
    if not namespace or not rest or "/" in rest or not name.isascii() or len(name) > _LONGEST_NAME:
        raise FirmwareError(f"{name!r} is not <namespace>/<name>, of {_LONGEST_NAME} characters at most")
    try:
        import micropython_microbit_fs as microbit
    except ImportError as error:
        raise FirmwareError("micropython-microbit-fs is missing: pip install hedgerow[device]") from error
    config = f"NAME={name.encode()!r}\nSIMULATED={simulated}\n"
    files = [microbit.File(path, content.encode()) for path, content in {**sources(), "config.py": config}.items()]
    made: str = microbit.add_files(microbit.get_bundled_hex(1).content, files)
    return made


def sources() -> dict[str, str]:
    """The firmware without words: name -> content."""
    return {path.name: _short(path.read_text()) for path in sorted(_SOURCES.glob("*.py"))}


def _short(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    lines = ast.unparse(_Numbers(tree).visit(tree)).splitlines()
    return "\n".join(" " * ((len(line) - len(line.lstrip())) // 4) + line.lstrip() for line in lines if line) + "\n"


class _Numbers(ast.NodeTransformer):
    """Puts numbers in the place of their names, where a module names them in capitals."""

    def __init__(self, tree: ast.Module) -> None:
        self._known: dict[str, ast.Constant] = {}
        for node in list(tree.body):
            match node:
                case ast.Assign([ast.Name(name)], ast.Constant(int()) as number) if name.isupper():
                    self._known[name] = number
                    tree.body.remove(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._known.get(node.id, node)


def main() -> None:
    """Write a hex file."""
    parser = argparse.ArgumentParser(prog="python -m device_fw.tools.microbit", description=main.__doc__)
    parser.add_argument("name", help="the device, <namespace>/<name>")
    parser.add_argument("file", type=Path, help="the hex file")
    parser.add_argument("--simulated", action="store_true", help="for an emulator, which has no thermometer")
    options = parser.parse_args()
    try:
        options.file.write_text(build(options.name, simulated=options.simulated))
    except FirmwareError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
