"""What other packages add to volseg by entry points: models, importers, exporters."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TypeVar

Kind = TypeVar("Kind")


def extensions(group: str, kind: type[Kind]) -> list[Kind]:
    """Load the entry points of a group that are of a kind, in the order of their names."""
    points = sorted(entry_points(group=group), key=lambda point: point.name)
    return [found for point in points if isinstance(found := point.load(), kind)]
