"""What is exported of a label image: a region of one level and time, and some of its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import (
    Grid,
    Region,
    Triple,
    check_region,
    intersection,
    region_shape,
    shifted,
    whole_region,
)

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow

BLOCK_BYTES = 2**25
SLAB_BYTES = 2**28


@dataclass(frozen=True)
class Selection:
    """A part of a label image, read block by block.

    Attributes
    ----------
    labels
        The label image.
    level, time
        Which of its levels and times.
    region
        ((z0, z1), (y0, y1), (x0, x1)) in voxels of the level. Regions given to `read` count from
        its corner.
    ids
        Objects to keep, the others becoming background; None keeps all.
    """

    labels: Labels
    level: int
    time: int
    region: Region
    ids: frozenset[int] | None = None

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x) of the region."""
        return region_shape(self.region)

    @property
    def origin(self) -> Triple:
        """First voxel (z, y, x) of the region in the level."""
        z, y, x = (low for low, _ in self.region)
        return z, y, x

    @property
    def scale(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in micrometres."""
        return self.labels.levels[self.level].scale

    @cached_property
    def volume(self) -> Volume:
        """The image that the labels belong to."""
        return self.labels.volume()

    @cached_property
    def rows(self) -> dict[int, ObjectRow]:
        """What the object table says of the selected objects at this time, by id."""
        found = {row.id: row for row in self.labels.objects.rows(self.time)}
        return {i: row for i, row in found.items() if self.ids is None or i in self.ids}

    @cached_property
    def image_level(self) -> int | None:
        """The image's level with the grid of this level; None where there is none."""
        shape = self.labels.levels[self.level].grid.shape
        return next((one.index for one in self.volume.levels if one.grid.shape == shape), None)

    def read(self, region: Region) -> NDArray[np.generic]:
        """Read ids.

        Parameters
        ----------
        region : Region
            Half-open voxels, counted from the selection's corner.

        Returns
        -------
        ndarray, shape (z, y, x)
        """
        where = shifted(region, self.origin)
        found = self.labels.read(where, level=self.level, time=self.time)
        if self.ids is None:
            return found
        import fastremap

        kept: NDArray[np.generic] = fastremap.mask_except(
            np.ascontiguousarray(found), list(self.ids)
        )
        return kept

    def read_image(self, region: Region, channel: int) -> NDArray[np.generic]:
        """Read the image on the same voxels.

        Raises
        ------
        InputError
            If the image has no level with this grid.
        """
        if self.image_level is None:
            raise InputError(
                f"{self.volume.location} has no level of the same voxels as level {self.level} of "
                f"{self.labels.name}; choose another --level"
            )
        where = shifted(region, self.origin)
        return self.volume.read(where, level=self.image_level, time=self.time, channel=channel)

    def blocks(self, most_bytes: int = BLOCK_BYTES, *, slabs: bool = False) -> Iterator[Region]:
        """Cut the selection along storage objects, rows along x whole, in z, then y order.

        Parameters
        ----------
        most_bytes : int
            About how many bytes of ids a block may have (one row of objects is the least).
        slabs : bool
            Whole slices only, as many as a chunk is deep and as fit into `SLAB_BYTES`; at least
            one.

        Yields
        ------
        Region
            Counted from the selection's corner.
        """
        grid = self.labels.levels[self.level].grid
        itemsize = max(4, self.labels.dtype.itemsize)
        if slabs:
            plane = max(1, self.shape[1] * self.shape[2] * itemsize)
            depth = max(1, min(grid.chunk[0], max(most_bytes, SLAB_BYTES) // plane))
            for z in range(0, self.shape[0], depth):
                end = min(z + depth, self.shape[0])
                yield (z, end), (0, self.shape[1]), (0, self.shape[2])
            return
        row = grid.chunk[0] * grid.chunk[1] * grid.shape[2] * itemsize
        rows = max(1, min(grid.counts[1], most_bytes // max(1, row)))
        back = [-n for n in self.origin]
        for block in Grid(grid.shape, grid.chunk).blocks((1, rows, grid.counts[2])):
            if (part := intersection(block, self.region)) is not None:
                yield shifted(part, back)

    def describe(self) -> dict[str, Any]:
        """The selection as plain values, for provenance."""
        return {
            "level": self.level,
            "time": self.time,
            "region_zyx": [list(part) for part in self.region],
            "objects": None if self.ids is None else sorted(self.ids),
        }


def select(
    labels: Labels,
    *,
    level: int = 0,
    time: int = 0,
    region: Region | None = None,
    z: tuple[int, int] | None = None,
    y: tuple[int, int] | None = None,
    x: tuple[int, int] | None = None,
    objects: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> Selection:
    """Choose what is exported.

    Parameters
    ----------
    labels : Labels
    level, time : int
    region, z, y, x : optional
        Half-open voxels of the level; `z`, `y`, `x` override parts of `region`.
    objects : sequence of int, optional
        Ids to keep.
    classes : sequence of str, optional
        Keep objects of these classes only.

    Raises
    ------
    InputError
        If level, time or region lie outside, or an object or class is unknown.
    """
    if not 0 <= level < len(labels.levels):
        raise InputError(f"{labels.name} has levels 0 to {len(labels.levels) - 1}, not {level}")
    if not 0 <= time < labels.n_times:
        raise InputError(f"{labels.name} has times 0 to {labels.n_times - 1}, not {time}")
    shape = labels.levels[level].grid.shape
    whole = region or whole_region(shape)
    asked = (z or whole[0], y or whole[1], x or whole[2])
    checked = check_region(asked, shape, f"region of level {level}")
    if objects is None and classes is None:
        return Selection(labels, level, time, checked)
    return Selection(labels, level, time, checked, _ids(labels, time, objects, classes))


def _ids(
    labels: Labels, time: int, objects: Sequence[int] | None, classes: Sequence[str] | None
) -> frozenset[int]:
    rows = {row.id: row for row in labels.objects.rows(time)}
    if objects is not None and rows and (unknown := sorted(set(objects) - set(rows))):
        raise InputError(f"{labels.name} has no object {unknown[0]} at time {time}")
    ids = set(rows) if objects is None else set(objects)
    if classes is not None:
        known = {row.class_ for row in rows.values() if row.class_}
        if missing := sorted(set(classes) - known):
            listed = ", ".join(sorted(known)) or "none"
            raise InputError(
                f"{labels.name} has no object of class {missing[0]!r}; its classes: {listed}"
            )
        ids = {i for i in ids if i in rows and rows[i].class_ in set(classes)}
    return frozenset(ids)
