"""The command line in this process: arguments in, status and texts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from volseg.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def volseg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `volseg ARGUMENTS…`."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return run
