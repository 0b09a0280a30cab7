"""Takes out of a source what only its readers need, before it becomes bytecode: names take a third of a board's heap.

MicroPython keeps every name of a loaded module in memory, for good, and a module's constants in its dictionary. Out go what
type checkers read (`if TYPE_CHECKING:`), and private constants become `const(…)`, which the compiler puts in their place. Lines
stay where they are, so that tracebacks tell them.
"""

import ast
from collections.abc import Collection

_CONSTANT = (int, str, bytes)


def slimmed(source: bytes) -> bytes:
    """The source without them; as it is when it is no Python, for the compiler says best what is wrong."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    lines = source.splitlines(keepends=True)
    assigned = _stores(tree)
    for statement in tree.body:
        if _is_for_type_checkers(statement):
            _blank(lines, statement)
        elif isinstance(statement, ast.Assign) and _is_constant(statement, assigned):
            _mark(lines, statement)
    return b"".join(lines)


def with_methods(source: bytes, name: str, kept: Collection[str]) -> bytes:
    """The source without the other methods of a class, and without the imports that only they used."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    for found in tree.body:
        if isinstance(found, ast.ClassDef) and found.name == name:
            for method in [m for m in found.body if isinstance(m, ast.FunctionDef) and m.name not in kept]:
                _blank(lines, method)
                found.body.remove(method)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names = {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
            if not names & used:
                _blank(lines, statement)
    return b"".join(lines)


def _is_for_type_checkers(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING")]):
            return True
    return False


def _is_constant(statement: ast.Assign, assigned: dict[str, int]) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
            private = name.startswith("_") and not name.startswith("__") and name.isupper()
            return private and type(value) in _CONSTANT and assigned[name] == 1
    return False


def _stores(tree: ast.Module) -> dict[str, int]:
    """How often each name is assigned to, anywhere."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] = found.get(node.id, 0) + 1
    return found


def _blank(lines: list[bytes], statement: ast.stmt) -> None:
    for number in range(statement.lineno - 1, statement.end_lineno or statement.lineno):
        lines[number] = b"\n"


def _mark(lines: list[bytes], statement: ast.Assign) -> None:
    value = statement.value
    if value.lineno != value.end_lineno:
        return
    line = lines[value.lineno - 1]
    start, end = value.col_offset, value.end_col_offset or 0
    lines[value.lineno - 1] = line[:start] + b"const(" + line[start:end] + b")" + line[end:]
