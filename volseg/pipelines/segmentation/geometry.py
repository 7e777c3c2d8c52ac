"""How a segment job is cut: windows of slices, groups of objects, blocks of whole storage objects of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import lcm, prod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from volseg.geometry import Grid, Region, Triple

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

WINDOW = 16
GROUP = 8
COMPOSE_VOXELS = 1 << 25
"""Most voxels of a compose block, 128 MiB as uint32, unless a single storage object needs more."""
LEAST_VOXELS = 1 << 19
"""A block of smaller storage objects takes several of them, up to so many voxels."""
PYRAMID_VOXELS = 1 << 23
"""Most voxels of the finer level that a pyramid block reads, unless a single storage object needs more."""


class LabelLevel(BaseModel):
    """One level of the label image: its shape in voxels, whole factors from the next finer level, chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Triple
    factors: Triple
    chunk: Triple


class Geometry(BaseModel):
    """The cut of a job; in the plan's hash, and independent of the machine.

    Parameters
    ----------
    window
        Slices of a propagate block.
    group
        Most objects of a propagate block.
    tile
        Voxels of the square by which objects are grouped: the model's tile.
    levels
        Of the label image.
    owned
        Number of levels, from 0, that compose blocks write; the others are the pyramid stage's.
    compose_shape
        Voxels of level 0 of a compose block: whole storage objects of every owned level.
    pyramid_shapes
        Voxels of a pyramid block of each level from 1, in that level: whole storage objects.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(ge=1)
    group: int = Field(ge=1)
    tile: int = Field(ge=1)
    levels: tuple[LabelLevel, ...]
    owned: int = Field(ge=1)
    compose_shape: Triple
    pyramid_shapes: tuple[Triple, ...]

    @property
    def chunk(self) -> Triple:
        """Storage object of level 0."""
        return self.levels[0].chunk

    def compose_blocks(self, shape: Triple) -> int:
        """How many compose blocks cover a volume."""
        z, y, x = Grid(shape, self.compose_shape).counts
        return z * y * x

    def compose_region(self, index: Sequence[int]) -> Region:
        """Voxels of level 0 of a compose block."""
        return Grid(self.levels[0].shape, self.compose_shape).region(index)

    def pyramid_grid(self, level: int) -> Grid:
        """Blocks in which a level from 1 is made where compose blocks don't own it, in its own voxels."""
        return Grid(self.levels[level].shape, self.pyramid_shapes[level - 1])

    def composed_by(self, region: Region) -> Iterable[Triple]:
        """Indices of the compose blocks that a region of level 0 touches."""
        return Grid(self.levels[0].shape, self.compose_shape).index_of(region)


def choose_geometry(
    levels: tuple[LabelLevel, ...], tile: int, window: int | None = None, group: int | None = None
) -> Geometry:
    """Cut a job.

    Parameters
    ----------
    levels
        Of the label image: `label_levels` of a new one, `levels_of` one that exists.
    tile
        Side of the model's tile in voxels.
    window, group
        Slices and objects of a block; None: the defaults.
    """
    owned, compose_shape = _compose_shape(levels)
    return Geometry(
        window=window or WINDOW,
        group=group or GROUP,
        tile=tile,
        levels=levels,
        owned=owned,
        compose_shape=compose_shape,
        pyramid_shapes=_pyramid_shapes(levels),
    )


def label_levels(volume: Volume, level: int) -> tuple[LabelLevel, ...]:
    """The levels that new labels of an image get.

    Parameters
    ----------
    volume, level
        The image, and the level that becomes level 0 of the labels.
    """
    from volseg.images.labels import LABEL_CHUNKS
    from volseg.images.labels import _plan as label_plans

    chunks = LABEL_CHUNKS
    found = []
    for plan in label_plans(volume, level):
        z, y, x = (min(c, n) for c, n in zip(chunks, plan.shape, strict=True))
        found.append(LabelLevel(shape=plan.shape, factors=plan.factors, chunk=(z, y, x)))
    return tuple(found)


def levels_of(labels: Labels) -> tuple[LabelLevel, ...]:
    """The levels that a label image has.

    Raises
    ------
    NotOmeZarrError
        They are no whole multiples of each other, so that the pyramid can't be kept.
    """
    found = []
    before = (1, 1, 1)
    for level, total in zip(labels.levels, labels.factors, strict=True):
        z, y, x = (n // m for n, m in zip(total, before, strict=True))
        found.append(LabelLevel(shape=level.grid.shape, factors=(z, y, x), chunk=level.grid.chunk))
        before = total
    return tuple(found)


def _compose_shape(levels: Sequence[LabelLevel]) -> tuple[int, Triple]:
    """As many owned levels as fit into `COMPOSE_VOXELS`; a block is whole storage objects on each of them."""
    owned, best = 1, _whole_objects(levels[:1])
    for count in range(2, len(levels) + 1):
        shape = _whole_objects(levels[:count])
        if prod(shape) > COMPOSE_VOXELS:
            break
        owned, best = count, shape
    return owned, _enlarged(best, levels[0].shape, LEAST_VOXELS)


def _whole_objects(levels: Sequence[LabelLevel]) -> Triple:
    """Return the least voxels (z, y, x) of level 0 that are whole storage objects on every one of some levels.

    An object that reaches from end to end of its level has no second one beside it: whoever writes it has the whole
    axis, however long its chunk is in name.
    """
    z, y, x = (_along(levels, axis) for axis in range(3))
    return (z, y, x)


def _along(levels: Sequence[LabelLevel], axis: int) -> int:
    length = levels[0].shape[axis]
    total, common = 1, 1
    for level in levels:
        total *= level.factors[axis]
        if level.chunk[axis] >= level.shape[axis]:
            return length
        common = lcm(common, level.chunk[axis] * total)
    return min(common, length)


def _pyramid_shapes(levels: Sequence[LabelLevel]) -> tuple[Triple, ...]:
    """Return a few storage objects of each level but the finest."""
    shapes = []
    for level in levels[1:]:
        z, y, x = (min(c, n) for c, n in zip(level.chunk, level.shape, strict=True))
        most = PYRAMID_VOXELS // prod(level.factors)
        shapes.append(_enlarged((z, y, x), level.shape, most))
    return tuple(shapes)


def _enlarged(block: Triple, shape: Triple, voxels: int) -> Triple:
    """Double a block along its shortest axis while it keeps below `voxels`, inside a shape."""
    while True:
        axes = [i for i in range(3) if block[i] < shape[i]]
        if not axes or 2 * prod(block) > voxels:
            return block
        axis = min(axes, key=lambda i: block[i])
        z, y, x = (
            min(2 * n, whole) if i == axis else n
            for i, (n, whole) in enumerate(zip(block, shape, strict=True))
        )
        block = (z, y, x)
