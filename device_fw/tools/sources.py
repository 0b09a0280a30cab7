"""Which source files a firmware needs: its entry and what that imports, within functions too. Boards get no file in vain."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from device_fw.tools.errors import FirmwareError

ROOT = Path(__file__).resolve().parents[2]
_OURS = ("device_fw", "edgewire")


def closure(entries: Collection[str], without: Collection[str] = ()) -> dict[str, Path]:
    """The files of these modules and of all that they import of ours: path on the board -> file here, in order of the path.

    `without` are modules not to take or follow: those that only another board imports. FirmwareError for one that is not there.
    """
    files: dict[str, Path] = {}
    waiting = list(entries)
    seen = set(without)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        file = _file(module)
        if file is None:
            raise FirmwareError(f"no module {module}")
        files[file.relative_to(ROOT).as_posix()] = file
        waiting.extend(_imports(file))
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return dict(sorted(files.items()))


def exists(module: str) -> bool:
    """Whether there is a module of that name."""
    return _file(module) is not None


def _file(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(file: Path) -> Iterator[str]:
    for statement in _run(ast.parse(file.read_bytes(), str(file))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if _ours(alias.name))
        elif isinstance(statement, ast.ImportFrom) and statement.module and _ours(statement.module):
            yield statement.module
            inner = (f"{statement.module}.{alias.name}" for alias in statement.names)
            yield from (name for name in inner if _file(name) is not None)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _run(child)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS
