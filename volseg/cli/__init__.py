"""The command line: thin over the library. One file per group of commands; errors become one line and an exit status.

Exit status: 0 done; 1 some blocks quarantined; 2 wrong use, wrong input or a store that failed; 130 interrupted.
"""

from volseg.cli.app import main

__all__ = ["main"]
