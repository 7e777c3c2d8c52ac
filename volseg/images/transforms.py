"""NGFF coordinate transformations: scale and translation per axis, as read from metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volseg.errors import NotOmeZarrError


@dataclass(frozen=True)
class Transform:
    """Scale, then translation, per axis of the array, in the axes' units."""

    scale: tuple[float, ...]
    translation: tuple[float, ...]

    def then(self, after: Transform) -> Transform:
        """Return the transform that applies `after` to what this one gives."""
        scale = tuple(a * b for a, b in zip(self.scale, after.scale, strict=True))
        moved = zip(self.translation, after.scale, after.translation, strict=True)
        return Transform(scale, tuple(t * s + u for t, s, u in moved))


def identity(n_axes: int) -> Transform:
    """Return the transform that changes nothing."""
    return Transform((1.0,) * n_axes, (0.0,) * n_axes)


def read_transforms(items: Any, kinds: Sequence[str], where: str) -> Transform:
    """Return a list of coordinate transformations as one, applied in its order.

    Along time and channel, where writers put zeros and nothing (bioformats2raw: no time step known), a scale that is
    not positive is taken as 1 and a translation that is no number as 0.

    Parameters
    ----------
    items
        As in the metadata; None or an empty list is the identity.
    kinds
        Kind of each axis ("t", "c", "z", "y" or "x").
    where
        What the list belongs to, for messages.

    Raises
    ------
    NotOmeZarrError
        For other kinds of transformations, another number of values, or a scale along z, y or x that is not positive.
    """
    if items is not None and not isinstance(items, list):
        raise NotOmeZarrError(f"{where}: 'coordinateTransformations' is not a list")
    result = identity(len(kinds))
    for item in items or []:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "identity":
            continue
        values = _values(item.get(kind), kinds) if kind in ("scale", "translation") else None
        if values is None:
            raise NotOmeZarrError(
                f"{where} has a coordinate transformation that volseg can't read: {item!r}; "
                f"expected scale or translation of {len(kinds)} numbers"
            )
        if kind == "translation":
            shift = tuple(0.0 if value is None else value for value in values)
            result = result.then(Transform(identity(len(kinds)).scale, shift))
            continue
        scale = tuple(
            1.0 if k in "tc" and not (v and v > 0) else v
            for k, v in zip(kinds, values, strict=True)
        )
        if not all(value is not None and value > 0 for value in scale):
            raise NotOmeZarrError(f"{where} has a scale that is not positive: {item['scale']}")
        result = result.then(Transform(scale, (0.0,) * len(kinds)))  # type: ignore[arg-type]
    return result


def _values(values: Any, kinds: Sequence[str]) -> list[float | None] | None:
    """Return one number per axis, None for what is no number along t and c; None for anything else."""
    if not isinstance(values, list) or len(values) != len(kinds):
        return None
    numbers = [float(value) if _is_number(value) else None for value in values]
    fits = all(n is not None or kind in "tc" for n, kind in zip(numbers, kinds, strict=True))
    return numbers if fits else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def transforms_of_shapes(shapes: Sequence[Sequence[int]], kinds: Sequence[str]) -> list[Transform]:
    """Return the transforms of levels of which only the shapes are known, in voxels of the first.

    Factors are whole where the shapes allow it (sizes are rounded up or down), and a coarse voxel lies in the middle
    of those that it stands for. Along t and c nothing changes.
    """
    result = []
    for shape in shapes:
        scale = [
            1.0 if kind in "tc" else _factor(full, n)
            for kind, full, n in zip(kinds, shapes[0], shape, strict=True)
        ]
        result.append(Transform(tuple(scale), tuple((s - 1) / 2 for s in scale)))
    return result


def _factor(full: int, n: int) -> float:
    whole = round(full / n)
    return float(whole) if n in (full // whole, -(-full // whole)) else full / n
