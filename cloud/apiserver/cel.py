"""CEL, the expression language of `x-kubernetes-validations`: the only file that knows the library that evaluates it.

Expressions are compiled once, with types checked as far as they are known: `self` and `oldSelf` are values of any type. Beside
CEL's own functions, its strings, math, encoders and optional extensions, an expression has these of Kubernetes: isSorted, sum,
min, max, indexOf and lastIndexOf of lists, find and findAll of strings, and sets.*. One that needs more of Kubernetes (quantity,
url, ip, cidr, semver, authorizer, cel.bind, comprehensions of two variables) raises `NotEvaluated`, as every one does where the
library is missing.

The library, cel-expr-python, is imported by the first expression, its extensions by the first that needs them. It ends what takes
too many iterations.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

ABSENT: Any = object()
"""No old value, where None is one."""

_ELSEWHERE = re.compile(
    r"\b(?:quantity|isQuantity|url|isURL|ip|isIP|ip\.isCanonical|cidr|isCIDR|semver|isSemver|cel\.bind"
    r"|transformList|transformMap|transformMapEntry|format\.\w+|authorizer)\s*\(|\bauthorizer\b"
    r"|\.(?:all|exists|existsOne|exists_one)\(\s*\w+\s*,\s*\w+\s*,"
)


class CelError(ValueError):
    """An expression that does not compile; the text is the compiler's."""


class NotEvaluated(Exception):
    """An expression that may be right, but cannot be evaluated here; the text says why."""


class CelFailure(Exception):
    """The evaluation of an expression failed, as by a field that is not there."""


class Program:
    """A compiled expression."""

    def __init__(self, expression: Any, uses_old: bool, optional_old: bool) -> None:
        self._expression = expression
        self.uses_old = uses_old
        """Whether it compares with the value before."""
        self._optional_old = optional_old

    def evaluate(self, value: Any, old: Any = ABSENT) -> Any:
        """The result for `self` and, where the expression uses it, `oldSelf`. Raises CelFailure."""
        data = {"self": value}
        if self.uses_old and self._optional_old:
            data |= {"hadOldSelf": old is not ABSENT, "givenOldSelf": None if old is ABSENT else old}
        elif self.uses_old:
            data["oldSelf"] = old
        try:
            result = self._expression.eval(data=data)
            if result.type().name() == "ERROR":
                raise CelFailure(str(result.value()))
            return result.value()
        except (RuntimeError, TypeError, OverflowError) as error:
            raise CelFailure(str(error)) from error


def compile_rule(text: str, optional_old: bool = False) -> Program:
    """A rule, which gives true or false; `optional_old` makes oldSelf an optional value. Raises CelError and NotEvaluated."""
    return _compile(text, "BOOL", optional_old)


def compile_message(text: str, optional_old: bool = False) -> Program:
    """An expression that gives a text. Raises CelError and NotEvaluated."""
    return _compile(text, "STRING", optional_old)


def _compile(text: str, result: str, optional_old: bool) -> Program:
    try:
        return Program(_checked("self", text, result), False, optional_old)
    except CelError:
        if not re.search(r"\boldSelf\b", text):
            raise
    if not optional_old:
        return Program(_checked("oldSelf", text, result), True, False)
    # An optional value cannot be handed in, so it is made inside, and named by the variable of a comprehension.
    given = "[hadOldSelf ? optional.of(givenOldSelf) : optional.none()]"
    wrapped = f"{given}.all(oldSelf, {text}\n)" if result == "BOOL" else f"{given}.map(oldSelf, {text}\n)[0]"
    return Program(_checked("optional", wrapped, result), True, True)


def _checked(old: str, text: str, result: str) -> Any:
    try:
        expression = _compiled(old, text)
    except RuntimeError as error:
        if found := _ELSEWHERE.search(text):
            raise NotEvaluated(f"{found[0].rstrip('( ')} is not known here") from error
        raise CelError(f"compilation failed: {_first_error(str(error))}") from error
    given = expression.return_type().name()
    if given not in (result, "DYN"):
        raise CelError(f"must evaluate to a {'bool' if result == 'BOOL' else 'string'}")
    return expression


def _compiled(old: str, text: str) -> Any:
    """The expression, by the core of the language where that will do: the extensions take twice as much memory again."""
    try:
        return _environment(old, extended=False).compile(text)
    except RuntimeError:
        return _environment(old, extended=True).compile(text)


def _first_error(text: str) -> str:
    lines = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]").splitlines()
    return " ".join(lines[:1])


@lru_cache
def _environment(old: str, extended: bool) -> Any:
    """What expressions are compiled in, by how the old value is there. Raises NotEvaluated."""
    try:
        from cel_expr_python import cel
    except ImportError as error:
        raise NotEvaluated("cel-expr-python is not installed") from error
    extensions = []
    if extended:
        from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

        extensions = [
            ext_strings.ExtStrings(),
            ext_optional.ExtOptional(),
            ext_math.ExtMath(),
            ext_encoders.ExtEncoders(),
        ]
    extensions.append(cel.CelExtension("kubernetes", _functions(cel)))  # last: it adds to indexOf of the strings
    any_type, boolean = cel.Type.DYN, cel.Type.BOOL
    variables = {
        "self": {"self": any_type},
        "oldSelf": {"self": any_type, "oldSelf": any_type},
        "optional": {"self": any_type, "hadOldSelf": boolean, "givenOldSelf": any_type},
    }
    return cel.NewEnv(variables=variables[old], extensions=extensions)


def _functions(cel: Any) -> list[Any]:
    """The functions of Kubernetes (k8s.io/apiserver/pkg/cel/library)."""
    types = cel.Type
    items = types.List(types.DYN)

    def method(name: str, result: Any, impl: Callable[..., Any], *parameters: Any) -> Any:
        return cel.Overload(name, return_type=result, parameters=list(parameters), is_member=True, impl=impl)

    def function(name: str, impl: Callable[..., Any]) -> Any:
        overload = cel.Overload(name.replace(".", "_"), return_type=types.BOOL, parameters=[items, items], impl=impl)
        return cel.FunctionDecl(name, [overload])

    return [
        cel.FunctionDecl("isSorted", [method("list_is_sorted", types.BOOL, _is_sorted, items)]),
        cel.FunctionDecl("sum", [method("list_sum", types.DYN, sum, items)]),
        cel.FunctionDecl("min", [method("list_min", types.DYN, min, items)]),
        cel.FunctionDecl("max", [method("list_max", types.DYN, max, items)]),
        cel.FunctionDecl("indexOf", [method("list_index_of", types.INT, _index, items, types.DYN)]),
        cel.FunctionDecl("lastIndexOf", [method("list_last_index_of", types.INT, _last_index, items, types.DYN)]),
        cel.FunctionDecl("find", [method("string_find", types.STRING, _find, types.STRING, types.STRING)]),
        cel.FunctionDecl(
            "findAll",
            [
                method("string_find_all", types.List(types.STRING), _find_all, types.STRING, types.STRING),
                method("string_find_some", types.List(types.STRING), _find_all, types.STRING, types.STRING, types.INT),
            ],
        ),
        function("sets.contains", lambda one, other: all(item in one for item in other)),
        function("sets.intersects", lambda one, other: any(item in one for item in other)),
        function("sets.equivalent", lambda one, other: all(i in one for i in other) and all(i in other for i in one)),
    ]


def _is_sorted(items: list[Any]) -> bool:
    return all(one <= other for one, other in pairwise(items))


def _index(items: list[Any], item: Any) -> int:
    return items.index(item) if item in items else -1


def _last_index(items: list[Any], item: Any) -> int:
    return len(items) - 1 - items[::-1].index(item) if item in items else -1


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]
