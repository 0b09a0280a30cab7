"""Shortens the private names of a firmware's modules before they become bytecode: on a board each different name costs memory.

Each module gets `_a`, `_b`, …, the same ones in all modules, so that they are kept once. A name stays as it is when it may mean
something elsewhere: it stands in a text, it is imported, a module uses it and does not make it, or it belongs to classes that
inherit from one another over modules. Lines stay where they are; a traceback's function has its short name.
"""

import ast
import io
import itertools
import re
import string
import tokenize
from collections.abc import Iterator, Mapping

_PRIVATE = re.compile(r"_(?!_)\w{2,}\Z")


def shortened(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """These modules, which may use one another, path -> source, with short private names. What is no Python stays as it is."""
    trees = {path: tree for path, content in sources.items() if (tree := _parsed(content)) is not None}
    kept = set().union(*map(_meant_elsewhere, trees.values()), _inherited(trees))
    return {path: _renamed(content, kept) if path in trees else content for path, content in sources.items()}


def _parsed(content: bytes) -> ast.Module | None:
    """None for what the compiler will refuse, and for f-strings: the names in them are not told before Python 3.12."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return None
    return None if any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree)) else tree


def _meant_elsewhere(tree: ast.Module) -> set[str]:
    made: set[str] = set()
    used: set[str] = set()
    kept: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=context) | ast.Name(id=name, ctx=context):
                (used if isinstance(context, ast.Load) else made).add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                made.add(name)
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                kept |= {alias.asname or alias.name for alias in names} | {alias.name for alias in names}
            case ast.keyword(arg=str(name)):
                kept.add(name)
            case ast.Constant(value=str(text)):
                kept.add(text)
    return kept | (used - made)


def _inherited(trees: Mapping[str, ast.Module]) -> set[str]:
    """The names in classes whose base, or heir, is in another module."""
    classes = {
        node.name: (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found: set[str] = set()
    for path, heir in classes.values():
        for base in heir.bases:
            name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
            if name in classes and classes[name][0] != path:
                found |= _names(heir) | _names(classes[name][1])
    return found


def _names(tree: ast.AST) -> set[str]:
    names = {getattr(node, key, None) for node in ast.walk(tree) for key in ("id", "attr", "name", "arg")}
    return {name for name in names if isinstance(name, str)}


def _renamed(content: bytes, kept: set[str]) -> bytes:
    tokens = [one for one in tokenize.tokenize(io.BytesIO(content).readline) if one.type == tokenize.NAME]
    names = {one.string for one in tokens}
    old = sorted(name for name in names - kept if _PRIVATE.match(name))
    free = (name for name in _short() if name not in names | kept)
    short = dict(zip(old, free, strict=False))
    lines = content.decode().splitlines(keepends=True)
    for one in reversed(tokens):
        if one.string in short:
            row, (start, end) = one.start[0] - 1, (one.start[1], one.end[1])
            lines[row] = lines[row][:start] + short[one.string] + lines[row][end:]
    return "".join(lines).encode()


def _short() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "_" + "".join(letters)
