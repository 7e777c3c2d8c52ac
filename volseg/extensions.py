"""What other packages add to volseg by entry points: models, importers, exporters."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def extensions(group: str, kind: type[Kind]) -> list[Kind]:
    """Load the entry points of a group that are of a kind, in the order of their names."""
    return [found for found in _loaded(group, tuple(sys.path)) if isinstance(found, kind)]


@lru_cache(maxsize=16)
def _loaded(group: str, path: tuple[str, ...]) -> tuple[Any, ...]:
    """All of a group; looked for once a path, as that reads the metadata of every installed package."""
    points = sorted(entry_points(group=group), key=lambda point: point.name)
    return tuple(point.load() for point in points)
