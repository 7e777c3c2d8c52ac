"""What a corrected voxel size changes in metadata documents: each change as a place in the JSON and its new value.

Nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from volseg.images.axes import Axis, read_axes
from volseg.images.transforms import Transform, read_transforms
from volseg.images.units import length_unit

Place = list[str | int]
Patch = tuple[Place, Any]
_WHOLE = 1e-6  # how near a factor, or half a voxel, is meant exactly


def scale_patches(
    document: dict[str, Any],
    old_um: Mapping[str, float],
    new_um: Mapping[str, float],
    where: str,
) -> list[Patch]:
    """Return the patches that bring every multiscale of a document to another voxel size of the image.

    Also the copies in consolidated metadata. Whatever is n times as large as the image's finest voxel stays so; the
    units stay, and where there is none, or an unknown one, micrometres are written.

    Parameters
    ----------
    document
        Of a group, or consolidated.
    old_um, new_um
        Side of the image's voxels by axis ("z", "y", "x"), in micrometres.
    where
        The document, for messages.

    Raises
    ------
    NotOmeZarrError
        If a multiscale can't be understood.
    """
    found: list[Patch] = []
    for place, entry in _multiscales(document, []):
        version = str(entry.get("version") or "0.5")
        axes, _ = read_axes(entry.get("axes"), version, where)
        kinds = [axis.kind for axis in axes]
        common = read_transforms(entry.get("coordinateTransformations"), kinds, where)
        for index, dataset in enumerate(entry["datasets"]):
            own = read_transforms(dataset.get("coordinateTransformations"), kinds, where)
            total = _corrected(own.then(common), axes, old_um, new_um)
            at = [*place, "datasets", index, "coordinateTransformations"]
            found.append((at, _as_list(total)))
        if "coordinateTransformations" in entry:  # now part of each level's
            found.append(([*place, "coordinateTransformations"], None))
        for index, axis in enumerate(axes):
            if axis.kind in "zyx" and length_unit(axis.unit) is None:
                found.append(([*place, "axes", index, "unit"], "micrometer"))
    return found


def patched(document: dict[str, Any], patches: list[Patch]) -> dict[str, Any]:
    """Apply patches to a document, in place; None deletes. Those of which the place is gone are passed over."""
    for place, value in patches:
        part: Any = document
        try:
            for key in place[:-1]:
                part = part[key]
            if value is not None:
                part[place[-1]] = value
            else:
                part.pop(place[-1], None)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return document


def _multiscales(part: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every multiscale with axes and levels below a part of a document."""
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        if key != "multiscales":
            yield from _multiscales(value, [*place, key])
            continue
        for index, entry in enumerate(value if isinstance(value, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get("datasets"), list):
                yield [*place, key, index], entry


def _corrected(
    old: Transform,
    axes: tuple[Axis, ...],
    old_um: Mapping[str, float],
    new_um: Mapping[str, float],
) -> Transform:
    scales, shifts = [], []
    for axis, scale, shift in zip(axes, old.scale, old.translation, strict=True):
        if axis.kind not in new_um:
            scales.append(scale)
            shifts.append(shift)
            continue
        voxel = old_um[axis.kind] / axis.micrometres
        factor, moved = _meant(scale / voxel, 1.0), _meant(shift / voxel, 0.5)
        scales.append(factor * new_um[axis.kind] / axis.micrometres)
        shifts.append(moved * new_um[axis.kind] / axis.micrometres)
    return Transform(tuple(scales), tuple(shifts))


def _meant(value: float, unit: float) -> float:
    """A number without rounding errors, where it is nearly a multiple of `unit`."""
    near = round(value / unit) * unit
    return near if abs(value - near) <= _WHOLE * max(1.0, abs(value)) else value


def _as_list(transform: Transform) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": list(transform.scale)},
        {"type": "translation", "translation": list(transform.translation)},
    ]
