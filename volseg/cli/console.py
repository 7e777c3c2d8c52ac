"""The console on which tables and progress are drawn."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console as RichConsole

PIPE_WIDTH = 4096  # columns: what goes into a file or another program is neither wrapped nor cut


class Console(RichConsole):
    """rich's console, but that a closed pipe is the command line's business: rich would exit with status 1.

    Parameters
    ----------
    stderr
        Draw on standard error.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        terminal = stream is not None and stream.isatty()
        super().__init__(stderr=stderr, width=None if terminal else PIPE_WIDTH, **options)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise
