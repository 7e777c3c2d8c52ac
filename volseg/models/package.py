"""The package `segment_anything` without what only few need of it.

Its predictor and its mask generator load torchvision and torch's compiler, which takes longer than everything else that
a worker loads beside torch; volseg needs its modeling alone.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

NAME = "segment_anything"


def load_on_demand() -> None:
    """Put `segment_anything` into place so that its own names are loaded when the first of them is asked for (PEP 562).

    `segment_anything.modeling` and its other submodules can be imported at once. Does nothing where the package was
    imported before, or is not installed.
    """
    spec = None if NAME in sys.modules else find_spec(NAME)
    if spec is None or spec.loader is None:
        return
    loader, package = spec.loader, module_from_spec(spec)

    def load(name: str) -> Any:
        if name.startswith("__"):  # what the import system asks of any module
            raise AttributeError(name)
        if vars(package).pop("__getattr__", None) is not None:
            loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[NAME] = package
