"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the Kubernetes contract suite run against any cluster."""
    parser.addoption(
        "--kubeconfig",
        metavar="FILE",
        default=None,
        help="run the Kubernetes contract tests against this cluster instead of the embedded API",
    )
