"""CEL as Kubernetes has it, as far as it goes here."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cloud.apiserver import cel
from cloud.apiserver.cel import ABSENT, CelError, CelFailure, NotEvaluated


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("has(self.a) && !has(self.b) && self.a == 1", {"a": 1}),
        ("self.n <= 5.5 && self.f >= 1", {"n": 5, "f": 1.5}),
        ("self.l.exists_one(x, x == 'a') && self.l.all(x, x.size() == 1)", ["a", "b"]),
        ("self.m.all(k, k.startsWith('a') && self.m[k] > 0) && 'ab' in self.m", {"m": {"ab": 1}}),
        ("self.s.lowerAscii().split('-').join('+') == 'a+b'", {"s": "A-B"}),
        ("self.s.find('[0-9]+') == '12' && self.s.findAll('[a-z]', 1) == ['a']", {"s": "ab12"}),
        ("self.l.isSorted() && self.l.sum() == 6 && self.l.max() == 3 && self.l.min() == 1", {"l": [1, 2, 3]}),
        ("self.l.indexOf(2) == 0 && self.l.lastIndexOf(2) == 1 && self.l.indexOf(9) == -1", {"l": [2, 2]}),
        (
            "sets.contains(self.l, [1]) && sets.equivalent(self.l, [2, 1]) && !sets.intersects(self.l, [3])",
            {"l": [1, 2]},
        ),
        ("size(self.s) == 2", {"s": "äö"}),
        ("self.?a.orValue(3) == 3", {}),
        (
            "timestamp(self.t) < timestamp('2030-01-01T00:00:00Z') && duration('1h') > duration('30m')",
            {"t": "2026-01-01T00:00:00Z"},
        ),
        ("'%s-%d'.format([self.s, 3]) == 'x-3'", {"s": "x"}),
        ("self.s.matches('^[0-9]+$') && double(self.s) > 1.0", {"s": "2"}),
        ("math.greatest(self.a, 2) == 2", {"a": 1}),
    ],
)
def test_rules_of_kubernetes_hold(rule: str, value: Any) -> None:
    if isinstance(value, list):
        value = {"l": value}
    assert cel.compile_rule(rule).evaluate(value) is True


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self +", "Syntax error"),
        ("other.a == 1", "undeclared reference to 'other"),
        ("nosuch(self)", "undeclared reference to 'nosuch'"),
        ("1 + 'a' == 2", "found no matching overload for '_+_'"),
        ("'text'", "must evaluate to a bool"),
        ("oldSelf +", "Syntax error"),
    ],
)
def test_what_is_no_rule_does_not_compile(rule: str, why: str) -> None:
    with pytest.raises(CelError, match=why.replace("+", "[+]")):
        cel.compile_rule(rule)


def test_a_message_is_a_text() -> None:
    assert cel.compile_message("'at most ' + string(self.max)").evaluate({"max": 3}) == "at most 3"
    with pytest.raises(CelError, match="must evaluate to a string"):
        cel.compile_message("1 + 1")


def test_the_old_value_is_there_for_those_who_name_it() -> None:
    rule = cel.compile_rule("self.n >= oldSelf.n")
    assert rule.uses_old
    assert rule.evaluate({"n": 2}, {"n": 1}) is True
    assert rule.evaluate({"n": 1}, {"n": 2}) is False
    assert not cel.compile_rule("self.name == 'oldSelf'").uses_old


def test_an_old_value_may_be_optional() -> None:
    rule = cel.compile_rule(
        "oldSelf.hasValue() ? self.n >= oldSelf.value().n : self.n == 0 // no more", optional_old=True
    )
    assert rule.evaluate({"n": 0}, ABSENT) is True
    assert rule.evaluate({"n": 1}, ABSENT) is False
    assert rule.evaluate({"n": 2}, {"n": 1}) is True
    say = cel.compile_message("'was ' + oldSelf.orValue('nothing')", optional_old=True)
    assert (say.evaluate("x", ABSENT), say.evaluate("x", "y")) == ("was nothing", "was y")


def test_a_pattern_that_is_none_is_a_failure() -> None:
    for text in ("self.s.find(self.p) == ''", "self.s.matches(self.p)", "self.s.findAll(self.p) == []"):
        with pytest.raises(CelFailure):
            cel.compile_rule(text).evaluate({"s": "x", "p": "["})


@pytest.mark.parametrize("value", [{}, {"l": "text"}, {"l": list(range(5000))}])
def test_an_evaluation_that_fails_or_takes_too_long_is_a_failure(value: Any) -> None:
    with pytest.raises(CelFailure):
        cel.compile_rule("self.l.all(x, self.l.all(y, x + y >= 0))").evaluate(value)


@pytest.mark.parametrize(
    "rule",
    [
        "quantity(self.q).isGreaterThan(quantity('1'))",
        "isURL(self.u)",
        "self.all(k, v, v > 1)",
        "cel.bind(x, 1, x == 1)",
    ],
)
def test_functions_that_only_a_cluster_has_are_not_evaluated(rule: str) -> None:
    with pytest.raises(NotEvaluated, match="is not known here"):
        cel.compile_rule(rule)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if cel-expr-python were not installed."""
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    cel._environment.cache_clear()
    yield
    cel._environment.cache_clear()


def test_nothing_is_evaluated_without_the_library(no_library: None) -> None:
    with pytest.raises(NotEvaluated, match="cel-expr-python is not installed"):
        cel.compile_rule("true")
