"""The names in a module's source, by what they are looked up in: for `short_names.py`."""

import ast
import functools
import re
from collections.abc import Collection
from pathlib import Path

_WORD = re.compile(r"[^\W\d]\w*")
_BY_TEXT = ("getattr", "setattr", "hasattr", "delattr")
_OF_ALL = ("eval", "exec", "execfile", "globals", "locals", "vars", "dir", "namedtuple")
ANY_CLASS = ""
"""In place of a base: nobody knows which one it is."""
_OF_ALL_ATTRIBUTES = ("__dict__", "namedtuple")


@functools.cache
def elsewhere() -> frozenset[str]:
    """Names of MicroPython's modules, and those that they and their objects have, on any port: ours may stand beside them in one
    expression.
    """
    return frozenset(Path(__file__).with_name("runtime_names.txt").read_text().split())


def words(*texts: bytes) -> set[str]:
    """All that could be a name in these texts."""
    return {word for text in texts for word in _WORD.findall(text.decode(errors="replace"))}


def composes_names(tree: ast.Module) -> bool:
    """Whether a module may use names that stand nowhere in it as such, or means others by them than Python does.

    It puts them together from texts, asks what names there are, runs a text, or has functions in assembler.
    """
    made = {
        one.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_put_together(node.value)
        for one in node.targets
        if isinstance(one, ast.Name)
    }
    return any(_is_beyond_names(node, made) for node in ast.walk(tree))


def _is_beyond_names(node: ast.AST, made: Collection[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=function), args=[_, name, *_]) if function in _BY_TEXT:
            return _is_put_together(name) or getattr(name, "id", "") in made
        case ast.Name(id=name):
            return name in _OF_ALL or name.startswith("asm_")
        case ast.Attribute(attr=name):
            return name in _OF_ALL_ATTRIBUTES or name.startswith("asm_")
    return False


def _is_put_together(text: ast.expr) -> bool:
    return isinstance(text, ast.BinOp | ast.Call | ast.JoinedStr)


def _aliases(tree: ast.Module) -> dict[str, set[str]]:
    """Other name of a class -> its names."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                for alias in names:
                    found.setdefault(alias.asname or alias.name, set()).add(alias.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, set()).add(_last_name(value))
    return found


def _last_name(value: ast.expr) -> str:
    return value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", ANY_CLASS)


class Names(ast.NodeVisitor):
    """What one module calls things. Annotations do not count: no bytecode has them."""

    def __init__(self, tree: ast.Module) -> None:
        self.attributes: set[str] = set()
        """Looked up in an object, a class or another module."""
        self.attributes_made: set[str] = set()
        """Those that this module gives to its objects, its classes or itself."""
        self.plain: set[str] = set()
        """Looked up in the module, a function, or, within the body of a class, in that."""
        self.plain_made: set[str] = set()
        self.loose: set[str] = set()
        """Attributes given to somebody else's object: they may be there beside any others."""
        self.meant: set[str] = set()
        """What is more than a name here: texts, keywords, optional arguments, modules."""
        self.foreign: set[str] = set()
        """Attributes looked up in something but `self`: other modules may have made them."""
        self.imported: dict[str, set[str]] = {}
        """Name -> the modules that it is taken from."""
        self.imports: set[str] = set()
        """The modules, or packages of them, that it imports by an absolute name."""
        self.classes: set[str] = set()
        self.bases: set[str] = set()
        """The classes that those inherit from, by their own names, or `ANY_CLASS`."""
        self._scopes = ["module"]
        self._aliases = _aliases(tree)
        for statement in tree.body:
            self.visit(statement)
        if self.bases & self.plain_made - self.classes - set(self.imported):
            self.bases.add(ANY_CLASS)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if not own:
            self.foreign.add(node.attr)
        if not isinstance(node.ctx, ast.Load):
            self.attributes_made.add(node.attr)
            if not own:
                self.loose.add(node.attr)
        self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.plain.add(node.id)
            if self._scopes[-1] == "class":  # looked up among its attributes first
                self.attributes.add(node.id)
                self.attributes_made.add(node.id)
        else:
            self._make(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._defined(node)

    def _defined(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._make(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._function(node.args, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._defined(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._make(node.name)
        self.classes.add(node.name)
        for one in (*node.bases, *node.decorator_list):
            self.visit(one)
        for one in node.bases:
            self.bases.update(self._aliases.get(_last_name(one), {_last_name(one)}))
        self._scopes.append("class")
        for statement in node.body:
            self.visit(statement)
        self._scopes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="const"))):
                self.meant.add(name)  # a private one costs nothing, and a public one must not become private
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._make(node.name)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self._make(name)
            self.attributes_made.add(name)

    visit_Nonlocal = visit_Global

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.meant.update(alias.name.split("."))
            self.imports.add(alias.name.partition(".")[0])
            if alias.asname:
                self._make(alias.asname)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.meant.update((node.module or "").split("."))
        if not node.level:
            self.imports.add((node.module or "").partition(".")[0])
        for alias in node.names:
            self.imported.setdefault(alias.name, set()).add(node.module or "")
            self._make(alias.name)
            self._make(alias.asname or alias.name)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg:
            self.meant.add(node.arg)
        self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.meant.add(node.value)

    def _make(self, name: str) -> None:
        """A name bound here: in a class an attribute, in the module an attribute to other modules, too."""
        if self._scopes[-1] != "class":
            self.plain.add(name)
            self.plain_made.add(name)
        else:
            self.attributes.add(name)
        if self._scopes[-1] != "function":
            self.attributes_made.add(name)

    def _function(self, arguments: ast.arguments, body: list[ast.stmt] | list[ast.expr]) -> None:
        optional = arguments.args[len(arguments.args) - len(arguments.defaults) :] if arguments.defaults else []
        self.meant.update(one.arg for one in (*optional, *arguments.kwonlyargs))
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        self._scopes.append("function")
        everything = (*arguments.posonlyargs, *arguments.args, arguments.vararg, arguments.kwarg)
        for one in everything:
            if one is not None:
                self._make(one.arg)
        for node in body:
            self.visit(node)
        self._scopes.pop()
