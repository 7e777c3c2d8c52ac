"""Patches of objects: the image around each centroid, with the object's mask beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region, Triple, intersection, region_origin, slices, whole_region
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


@dataclass(frozen=True)
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

    volume: Volume
    labels: Labels
    level: int
    channels: tuple[int, ...]
    size: Triple

    def read(self, rows: FeatureRows) -> NDArray[np.float32]:
        """Return the patches of objects (n, channels + 1, z, y, x), the mask (0 or 1) last."""
        found = np.zeros((len(rows), len(self.channels) + 1, *self.size), np.float32)
        voxel = np.array(self.labels.scale)
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
        inside = intersection(wanted, whole_region(self.labels.shape))
        if inside is None:
            return
        where = slices(inside, region_origin(wanted))
        for at, channel in enumerate(self.channels):
            values = self.volume.read(inside, level=self.level, time=time, channel=channel)
            plain = np.nan_to_num(values.astype(np.float32))
            patch[at] = plain.min()
            patch[at][where] = plain
        patch[-1][where] = self.labels.read(inside, time=time) == one


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
