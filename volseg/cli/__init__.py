"""The command line: thin over the library. One file per group of commands; errors become one line and an exit status.

Exit status: 0 done; 1 some blocks quarantined; 2 wrong use, wrong input or a store that failed; 130 interrupted;
141 whoever read the output has gone.
"""

from __future__ import annotations

import sys

from volseg.cli.interrupts import Interrupts, end_quietly


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process if not given.
    """
    try:
        with Interrupts():
            from volseg.cli.app import run  # takes a while: a Ctrl-C may come in the meantime

            status = run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("volseg: interrupted\n")
        status = 130
    if arguments is None:  # the process ends with this command
        end_quietly()
    sys.exit(status)


__all__ = ["main"]
