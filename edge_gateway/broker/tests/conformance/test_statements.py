"""The table of statements: nothing forgotten, nothing twice, and the document says the same."""

from edge_gateway.broker.tests.conformance.statements import DOCUMENT, STATEMENTS, UNTESTABLE, asked, document


def test_every_statement_is_asked_for_or_says_why_not() -> None:
    assert sorted(STATEMENTS.keys() - asked().keys()) == sorted(UNTESTABLE)


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(), "python -m edge_gateway.broker.tests.conformance"
