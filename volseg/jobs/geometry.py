"""How a segment job is cut: windows of slices, groups of objects, blocks of whole storage objects of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from volseg.volume.blocks import Grid, Region, Triple

if TYPE_CHECKING:
    from volseg.volume.image import Volume
    from volseg.volume.labels import Labels

WINDOW = 16
GROUP = 8
COMPOSE_VOXELS = 1 << 25
"""Most voxels of a compose block: 128 MiB as uint32."""


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
    pyramid_shape
        Voxels of a pyramid block, in its own level: whole storage objects.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(ge=1)
    group: int = Field(ge=1)
    tile: int = Field(ge=1)
    levels: tuple[LabelLevel, ...]
    owned: int = Field(ge=1)
    compose_shape: Triple
    pyramid_shape: Triple

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
        pyramid_shape=_pyramid_shape(levels),
    )


def label_levels(volume: Volume, level: int) -> tuple[LabelLevel, ...]:
    """The levels that new labels of an image get.

    Parameters
    ----------
    volume, level
        The image, and the level that becomes level 0 of the labels.
    """
    from volseg.volume.labels import LABEL_CHUNKS
    from volseg.volume.labels import _plan as label_plans

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
    for level, total in zip(labels.level_info, labels.factors, strict=True):
        z, y, x = (n // m for n, m in zip(total, before, strict=True))
        found.append(LabelLevel(shape=level.shape, factors=(z, y, x), chunk=level.grid.chunk))
        before = total
    return tuple(found)


def _compose_shape(levels: Sequence[LabelLevel]) -> tuple[int, Triple]:
    """As many owned levels as fit into `COMPOSE_VOXELS`; a block is whole storage objects on each of them."""
    owned, best = 1, _fit(levels[0].chunk, levels[0].shape)
    total = (1, 1, 1)
    shape = levels[0].chunk
    for i, level in enumerate(levels[1:], start=2):
        total = _times(total, level.factors)
        shape = _lcm(shape, _times(level.chunk, total))
        fitted = _fit(shape, levels[0].shape)
        if fitted[0] * fitted[1] * fitted[2] > COMPOSE_VOXELS:
            break
        owned, best = i, shape
    return owned, best


def _pyramid_shape(levels: Sequence[LabelLevel]) -> Triple:
    """A few storage objects of a coarse level: at most a quarter of a compose block."""
    z, y, x = levels[-1].chunk
    while 8 * z * y * x <= COMPOSE_VOXELS // 16:
        z, y, x = 2 * z, 2 * y, 2 * x
    return (z, y, x)


def _fit(block: Triple, shape: Triple) -> Triple:
    z, y, x = (min(b, n) for b, n in zip(block, shape, strict=True))
    return (z, y, x)


def _times(a: Triple, b: Triple) -> Triple:
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2])


def _lcm(a: Triple, b: Triple) -> Triple:
    from math import lcm

    return (lcm(a[0], b[0]), lcm(a[1], b[1]), lcm(a[2], b[2]))
