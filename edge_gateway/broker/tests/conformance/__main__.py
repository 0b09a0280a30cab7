"""Write docs/mqtt-conformance.md: python -m edge_gateway.broker.tests.conformance."""

from edge_gateway.broker.tests.conformance.statements import DOCUMENT, document

DOCUMENT.write_text(document())
