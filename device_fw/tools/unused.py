"""Takes out of a firmware's modules what nothing in them uses: functions, methods, constants that only other boards, the tools
or the gateway want. A board would keep each in memory.

A name that stands anywhere is used, whatever it means there: in a text, too, or as an attribute of something else. Lines stay
where they are.
"""

import ast
from collections.abc import Collection, Iterator, Mapping

from device_fw.tools.named import composes_names, elsewhere, words

_PURE = (ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.UnaryOp, ast.operator)
_TOLD_TO_TOOLS = ("__all__", "__version__")
_HARMLESS = (*_PURE, ast.unaryop, ast.expr_context)
_DECORATORS = frozenset(("property", "staticmethod", "classmethod", "setter", "native", "viper"))
"""Another one may note what it is given."""


def without_unused(sources: Mapping[str, bytes], kept: Collection[str] = ()) -> dict[str, bytes]:
    """These modules, path -> source, without what none of them uses, but for names `kept` and those of MicroPython's own.

    They are all that use one another. What is no Python stays as it is, and then so do all.
    """
    left = dict(sources)
    while True:
        try:
            trees = {path: ast.parse(content) for path, content in left.items()}
        except (SyntaxError, ValueError):  # the compiler says best what is wrong
            return dict(sources)
        used = elsewhere().union(kept, *map(_used, trees.values()))
        used = used.union(*(words(left[path]) for path, tree in trees.items() if composes_names(tree)))
        fewer = {path: _cut(left[path], tree, used) for path, tree in trees.items()}
        if fewer == left:
            return left
        left = fewer


def _used(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in _run(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Load() | ast.Del()) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.AugAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Constant(value=str(text)):
                found.add(text)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names if alias.asname in found)
    return found


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but annotations and the texts that stand for themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.FunctionDef) and child is node.returns:
            continue
        if isinstance(node, ast.AnnAssign | ast.arg) and child is node.annotation:
            continue
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        yield child
        yield from _run(child)


def _cut(content: bytes, tree: ast.Module, used: Collection[str]) -> bytes:
    lines = content.splitlines(keepends=True)
    for body in _bodies(tree):
        out = [statement for statement in body if _is_unused(statement, used) and _stands_alone(lines, statement)]
        for statement in out[1:] if len(out) == len(body) else out:
            _blank(lines, statement)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _stands_alone(lines, node):
            _thin_out(lines, node, used)
    return b"".join(lines)


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    yield tree.body
    yield from (statement.body for statement in tree.body if isinstance(statement, ast.ClassDef))


def _is_unused(statement: ast.stmt, used: Collection[str]) -> bool:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            pass
        case ast.AnnAssign(target=ast.Name(id=name)):
            pass
        case _:
            return False
    return name not in used and (not name.startswith("__") or name in _TOLD_TO_TOOLS) and _only_makes(statement)


def _only_makes(statement: ast.stmt) -> bool:
    """Whether it does nothing but give something a name."""
    match statement:
        case ast.FunctionDef(decorator_list=decorators, args=arguments):
            names = {getattr(one, "attr", getattr(one, "id", "")) for one in decorators}
            return names <= _DECORATORS and all(map(_is_harmless, [*arguments.defaults, *arguments.kw_defaults]))
        case ast.ClassDef():
            outside = [*statement.bases, *statement.keywords, *statement.decorator_list]
            return (
                not statement.decorator_list
                and all(map(_is_harmless, outside))
                and all(map(_only_makes, statement.body))
            )
        case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.Expr(value=value):
            return _is_harmless(value)
        case _:
            return isinstance(statement, ast.Pass)


def _is_harmless(value: ast.AST | None) -> bool:
    return value is None or all(isinstance(node, _HARMLESS) for node in ast.walk(value))


def _thin_out(lines: list[bytes], statement: ast.ImportFrom, used: Collection[str]) -> None:
    """Leave those names of an import that somebody wants; a module that is imported in vain is not imported."""
    names = [alias for alias in statement.names if alias.name == "*" or (alias.asname or alias.name) in used]
    if len(names) == len(statement.names):
        return
    indent = lines[statement.lineno - 1][: statement.col_offset]
    text = ", ".join(alias.name + (f" as {alias.asname}" if alias.asname else "") for alias in names)
    _blank(lines, statement)
    line = f"from {'.' * statement.level}{statement.module or ''} import {text}" if names else "pass"
    lines[statement.lineno - 1] = indent + line.encode() + b"\n"


def _stands_alone(lines: list[bytes], statement: ast.stmt) -> bool:
    """Whether no other statement shares its lines."""
    first, last = lines[statement.lineno - 1], lines[(statement.end_lineno or statement.lineno) - 1]
    after = last[statement.end_col_offset or len(last) :].strip()
    return not first[: statement.col_offset].strip() and (not after or after.startswith(b"#"))


def _blank(lines: list[bytes], statement: ast.stmt) -> None:
    decorators = getattr(statement, "decorator_list", [])
    for number in range(min([statement.lineno, *(one.lineno for one in decorators)]) - 1, statement.end_lineno or 0):
        lines[number] = b"\n"
