"""What end-to-end tests share."""

import os

import pytest


def missing(what: str) -> None:
    """Skip a test that lacks a part of the machine; in CI nothing may be lacking."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(what)
