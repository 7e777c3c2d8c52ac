"""The command line in this process, as its own tests have it."""

from __future__ import annotations

from tests.cli.conftest import volseg

__all__ = ["volseg"]
