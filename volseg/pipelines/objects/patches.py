"""Patches of objects: the image around each centroid, with the object's mask beside it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import (
    Grid,
    Region,
    Triple,
    intersection,
    region_origin,
    region_shape,
    slices,
    whole_region,
)
from volseg.measurement.table import FeatureRows

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.measurement.definition import FeatureDefinition
    from volseg.pipelines.objects.options import PatchOptions
    from volseg.pipelines.objects.sources import ObjectSource

ROOM = 1.5
"""A patch is so many times as wide as all but a tenth of the objects."""
STEP, LEAST, WIDEST, DEEPEST = 8, 16, 64, 16
AT_ONCE = 256
KEPT_BYTES = 64 << 20
"""Of storage objects that are kept, for each channel and for the labels."""


class _Blocks:
    """Reads regions by whole storage objects, and keeps those read last: neighbours lie in the same ones.

    Parameters
    ----------
    read
        Region and time -> voxels.
    grid
        Of the array's storage objects.
    """

    def __init__(self, read: Callable[[Region, int], NDArray[Any]], grid: Grid) -> None:
        self._read, self._grid = read, grid
        self._kept: OrderedDict[tuple[int, Triple], NDArray[Any]] = OrderedDict()

    def __call__(self, region: Region, time: int) -> NDArray[Any]:
        """Return the voxels of a region."""
        found: NDArray[Any] | None = None
        for index in self._grid.index_of(region):
            block, box = self._block(time, index), self._grid.region(index)
            part = intersection(box, region)
            if part is None:
                continue
            if found is None:
                found = np.empty(region_shape(region), block.dtype)
            found[slices(part, region_origin(region))] = block[slices(part, region_origin(box))]
        assert found is not None, "a region has voxels"
        return found

    def _block(self, time: int, index: Triple) -> NDArray[Any]:
        key = (time, index)
        if key not in self._kept:
            self._kept[key] = self._read(self._grid.region(index), time)
            while len(self._kept) > 1 and sum(b.nbytes for b in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class PatchReader:
    """Reads patches.

    Parameters
    ----------
    volume, labels
        The image and its label image.
    level
        The image's level of the labels' voxels.
    channels
        Of the image.
    size
        Voxels (z, y, x) of a patch; what lies outside of the volume is the channel's least value in the patch.
    """

    def __init__(
        self,
        volume: Volume,
        labels: Labels,
        level: int,
        channels: tuple[int, ...],
        size: Triple,
    ) -> None:
        self.size, self.channels, self._labels = size, channels, labels
        self._ids = _Blocks(lambda region, time: labels.read(region, time=time), labels.grid)
        grid = volume.levels[level].grid

        def of_channel(channel: int) -> _Blocks:
            def read(region: Region, time: int) -> NDArray[Any]:
                return volume.read(region, level=level, time=time, channel=channel)

            return _Blocks(read, grid)

        self._image = [of_channel(channel) for channel in channels]

    def read(self, rows: FeatureRows) -> NDArray[np.float32]:
        """Return the patches of objects (n, channels + 1, z, y, x), the mask (0 or 1) last."""
        found = np.zeros((len(rows), len(self.channels) + 1, *self.size), np.float32)
        voxel = np.array(self._labels.scale)
        for at in range(len(rows)):
            centre = np.rint(rows.centroids[at] / voxel).astype(int)
            self._fill(found[at], int(rows.times[at]), int(rows.ids[at]), centre)
        return found

    def parts(self, rows: FeatureRows) -> Iterator[tuple[FeatureRows, NDArray[np.float32]]]:
        """Yield rows with their patches, `AT_ONCE` at a time."""
        for start in range(0, len(rows), AT_ONCE):
            part = rows.chosen(np.arange(start, min(start + AT_ONCE, len(rows))))
            yield part, self.read(part)

    def _fill(
        self, patch: NDArray[np.float32], time: int, one: int, centre: NDArray[np.int_]
    ) -> None:
        z, y, x = (
            (int(c) - n // 2, int(c) - n // 2 + n) for c, n in zip(centre, self.size, strict=True)
        )
        wanted: Region = (z, y, x)
        inside = intersection(wanted, whole_region(self._labels.shape))
        if inside is None:
            return
        where = slices(inside, region_origin(wanted))
        for at, read in enumerate(self._image):
            plain = np.nan_to_num(read(inside, time).astype(np.float32))
            patch[at] = plain.min()
            patch[at][where] = plain
        patch[-1][where] = self._ids(inside, time) == one


def patch_size(labels: Labels, rows: Sequence[FeatureRows], options: PatchOptions) -> Triple:
    """Return the voxels (z, y, x) of patches: as given, else so that most of the labelled objects fit."""
    voxels = np.concatenate([part.voxels for part in rows]).astype(np.float64)
    flat = labels.shape[0] == 1
    voxel = np.array(labels.scale[1:] if flat else labels.scale)
    volume = voxels * voxel.prod()
    diameters = np.sqrt(4 * volume / np.pi) if flat else np.cbrt(6 * volume / np.pi)
    wide = ROOM * float(np.percentile(diameters, 90)) if len(diameters) else 0.0
    side = options.size or _steps(wide / float(labels.scale[1]), STEP, LEAST, WIDEST)
    depth = 1 if flat else _steps(wide / float(labels.scale[0]), 1, 3, DEEPEST)
    return (options.depth or depth, side, side)


def _steps(length: float, step: int, least: int, most: int) -> int:
    return min(most, max(least, -(-round(length) // step) * step))


def patch_reader(source: ObjectSource, definition: FeatureDefinition, size: Triple) -> PatchReader:
    """Return what reads the patches of a label image.

    Raises
    ------
    InputError
        The image has no level of the labels' voxels.
    """
    labels, volume = source.labels, source.volume
    level = next((one.index for one in volume.levels if one.grid.shape == labels.shape), None)
    if level is None:
        raise InputError(
            f"{volume.location} has no level of the voxels of {labels.name}, so there are no patches"
        )
    return PatchReader(volume, labels, level, definition.channels, size)
