"""Shortens the names of a firmware's modules before they become bytecode: on a board each different name costs memory, for good.

All modules that go onto a board together get `_a`, `_b`, …, and share them wherever no module could mistake one for the other:
attributes are looked up in objects, other names in a module or a function, and whoever uses a name knows which one it means.
So two names that no module uses in the same way may be one. A name stays as it is when it may mean something elsewhere: it
stands in a text, or in a module that imports one which nobody knows, names a module or a keyword, an optional argument or an
attribute of MicroPython's own objects, or is used and not made. Lines stay where they are; a traceback's functions have their
short names.
"""

import ast
import io
import itertools
import string
import tokenize
from collections.abc import Collection, Iterator, Mapping

from device_fw.tools import named
from device_fw.tools.named import Names, words

Node = tuple[str, str]
"""A name, and the module to which it is private; "" where all modules mean the same by it."""

_OURS = (
    "device_fw",
    "edgewire",
    "hedgerow_boot",
)  # what boot code and firmware mean by each other's names is said in `kept`


def shortened(sources: Mapping[str, bytes], kept: Collection[str] = ()) -> dict[str, bytes]:
    """These modules, path -> source, with short names, but for those `kept` and MicroPython's own.

    They are all that use one another. What is no Python stays as it is, and its words are kept.
    """
    trees = {path: tree for path, content in sources.items() if (tree := _parsed(content)) is not None}
    modules = {path: Names(tree) for path, tree in trees.items()}
    stay = words(*(content for path, content in sources.items() if path not in trees)).union(kept)
    stay |= _meant_elsewhere(modules).union(*(words(sources[path]) for path in _beside_strangers(modules)))
    short = _coloured(modules, stay)
    return {path: _renamed(content, path, short) if path in trees else content for path, content in sources.items()}


def _parsed(content: bytes) -> ast.Module | None:
    """None for what the compiler will refuse, for f-strings, whose names are not told before Python 3.12, for `import *`, and for
    what puts names together.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return None
    return None if any(_hides_names(node) for node in ast.walk(tree)) or named.composes_names(tree) else tree


def _hides_names(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")


def _meant_elsewhere(modules: Mapping[str, Names]) -> set[str]:
    """Names that are used and that none of these modules makes, and those that stand for something besides."""
    found = {part for path in modules for part in path.removesuffix(".py").split("/")}
    makes = set().union(*(module.attributes_made for module in modules.values()))
    for module in modules.values():
        found |= module.meant | (module.attributes - makes) | (module.plain - module.plain_made)
        found |= module.attributes & named.elsewhere()
        found |= {name for name in module.attributes | module.plain if name.strip("_") == "" or name.startswith("__")}
        found |= {name for name, makers in module.imported.items() if not any(_has(modules, one) for one in makers)}
    return found


def _beside_strangers(modules: Mapping[str, Names]) -> list[str]:
    """Those that import what is neither among them nor MicroPython's: what its objects have, nobody knows."""
    known = {part for path in modules for part in path.removesuffix(".py").split("/")}.union(named.elsewhere(), _OURS)
    return [path for path, module in modules.items() if module.imports - known]


def _has(modules: Mapping[str, Names], name: str) -> bool:
    """Also where the folder that a module is found in is not the root."""
    path = "/" + name.replace(".", "/")
    return any(f"/{one}".endswith((f"{path}.py", f"{path}/__init__.py")) for one in modules)


def _coloured(modules: Mapping[str, Names], stay: set[str]) -> dict[Node, str]:
    """The short name of each node: the first that no node has which somebody could take for it."""
    families = _families(modules)
    loose = set().union(*(module.loose for module in modules.values()))
    shared = loose.union(*(module.imported for module in modules.values()))
    for path, module in modules.items():
        shared |= module.foreign | (module.attributes - module.attributes_made)
        if len(families[path]) > 1:
            shared |= module.attributes
    near: dict[Node, set[Node]] = {}
    for path, module in modules.items():
        family = [modules[one] for one in families[path]]
        attributes = {
            _node(name, one_path, shared)
            for one_path, one in zip(families[path], family, strict=True)
            for name in (one.attributes | loose) - stay
        }
        plain = {_node(name, path, shared) for name in (module.plain | loose) - stay}
        for group in (attributes, plain):
            for node in group:
                near.setdefault(node, set()).update(group)
    return _first_free(near, stay)


def _node(name: str, path: str, shared: Collection[str]) -> Node:
    private = name.startswith("_") and name not in shared
    return name, path if private else ""


def _first_free(near: Mapping[Node, set[Node]], stay: set[str]) -> dict[Node, str]:
    short: dict[Node, str] = {}
    for node in sorted(near, key=lambda node: (-len(near[node]), node)):
        taken = {short[other] for other in near[node] if other in short}
        short[node] = next(name for name in _short() if name not in taken and name not in stay)
    return short


def _families(modules: Mapping[str, Names]) -> dict[str, list[str]]:
    """The modules whose classes inherit from one another: the attributes of those are in the same objects."""
    family = {path: {path} for path in modules}
    for path, module in modules.items():
        for other, maker in modules.items():
            if module.bases & maker.classes or (named.ANY_CLASS in module.bases and maker.classes):
                both = family[path] | family[other]
                for one in both:
                    family[one] = both
    return {path: sorted(members) for path, members in family.items()}


def _renamed(content: bytes, path: str, short: Mapping[Node, str]) -> bytes:
    lines = content.decode().split("\n")  # a form feed ends no line to the tokenizer
    tokens = [one for one in tokenize.tokenize(io.BytesIO(content).readline) if one.type == tokenize.NAME]
    for one in reversed(tokens):
        new = short.get((one.string, path)) or short.get((one.string, ""))
        if new:
            row, (start, end) = one.start[0] - 1, (one.start[1], one.end[1])
            lines[row] = lines[row][:start] + new + lines[row][end:]
    return "\n".join(lines).encode()


def _short() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "_" + "".join(letters)
