"""Prefect in the tests' own process: what it does to logging ends with the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take Prefect's handler off again: it writes to this test's standard error, which is closed afterwards."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in list(root.handlers):
        if type(handler).__module__.startswith("prefect"):
            root.removeHandler(handler)
    root.setLevel(level)
