"""Labels to be compared, read block by block: arrays, label images of a volume, files and URLs
behind one small face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.evaluation.contingency import as_ids
from volseg.geometry import slices

if TYPE_CHECKING:
    from volseg.geometry import Region
    from volseg.images.labels import Labels

BLOCK_VOXELS = 2**24


class LabelSource(Protocol):
    """Labels on a (z, y, x) grid that are read region by region."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) in voxels."""
        ...

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) that are best read at once."""
        ...

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (z, y, x) in micrometres, where known."""
        ...

    @property
    def name(self) -> str:
        """For messages and reports."""
        ...

    def read(self, region: Region) -> NDArray[np.integer]:
        """Read a region ((z0, z1), (y0, y1), (x0, x1)) of voxels; ids, 0 being background."""
        ...

    def classes(self) -> dict[int, str]:
        """Class per object id, as far as known."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Labels in memory, or anything that slices like an array."""

    array: Any
    shape: tuple[int, int, int]
    spacing_um: tuple[float, float, float] | None = None
    name: str = "array"

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Slices as a whole."""
        return (1, *self.shape[1:])

    def read(self, region: Region) -> NDArray[np.integer]:
        """Read a region of voxels."""
        z, y, x = slices(region)
        if len(self.array.shape) == 2:
            return as_ids(self.array[y, x], self.name)[np.newaxis]
        return as_ids(self.array[z, y, x], self.name)

    def classes(self) -> dict[int, str]:
        """None are known."""
        return {}


@dataclass(frozen=True)
class LabelImageSource:
    """One level and time of a label image."""

    labels: Labels
    level: int
    time: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the level in voxels."""
        z, y, x = self.labels.levels[self.level].grid.shape
        return (int(z), int(y), int(x))

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Chunk (z, y, x) of the level in voxels."""
        z, y, x = self.labels.levels[self.level].chunks[-3:]
        return (int(z), int(y), int(x))

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (z, y, x) in micrometres."""
        return level_scale_um(self.labels, self.level)

    @property
    def name(self) -> str:
        """Name of the label image."""
        return self.labels.name

    def read(self, region: Region) -> NDArray[np.integer]:
        """Read a region of voxels."""
        return self.labels.read(region, level=self.level, time=self.time)

    def classes(self) -> dict[int, str]:
        """Class per object id from the object table."""
        rows = self.labels.objects.rows()
        return self.labels.classes | {row.id: row.class_ for row in rows if row.class_}


@dataclass(frozen=True)
class FileSource:
    """Labels in a file that volseg imports, read without importing them."""

    image: Any
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) in voxels."""
        shape: tuple[int, int, int] = self.image.shape_zyx
        return shape

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Slices as a whole."""
        return (1, *self.shape[1:])

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (z, y, x) in micrometres where the file tells it."""
        z, y, x = self.image.scale_um
        return None if z is None or y is None or x is None else (z, y, x)

    def read(self, region: Region) -> NDArray[np.integer]:
        """Read a region of voxels."""
        return as_ids(self.image.read(region), self.name)

    def classes(self) -> dict[int, str]:
        """None are known."""
        return {}


def open_source(labels: Any, *, level: int = 0, time: int = 0) -> LabelSource:
    """Make labels of any kind readable block by block.

    Parameters
    ----------
    labels : Labels, array (z, y, x) or (y, x), or path or URL
        A path or URL leads to a file that `volseg import` reads, or to a label image
        (`…/volume.zarr/labels/NAME`).
    level, time : int
        Of a label image.

    Raises
    ------
    InputError
        If it is none of these, or has another number of axes.
    """
    if hasattr(labels, "levels") and hasattr(labels, "read"):
        if not 0 <= level < len(labels.levels):
            raise InputError(
                f"labels {labels.name!r} have levels 0 to {len(labels.levels) - 1}, not {level}"
            )
        return LabelImageSource(labels, level, time)
    if isinstance(labels, str | Path):
        return _open_path(str(labels), level, time)
    array = (
        labels
        if hasattr(labels, "shape") and hasattr(labels, "__getitem__")
        else np.asarray(labels)
    )
    if len(array.shape) not in (2, 3):
        raise InputError(f"labels of shape {tuple(array.shape)}: expected axes (z, y, x) or (y, x)")
    shape = tuple(int(n) for n in array.shape)
    return ArraySource(array, shape if len(shape) == 3 else (1, *shape))  # type: ignore[arg-type]


def blocks(first: LabelSource, second: LabelSource, voxels: int = BLOCK_VOXELS) -> Iterator[Region]:
    """Cut the common grid of two sources into blocks of at most about `voxels`, along chunk
    borders."""
    shape = first.shape
    step = [
        min(shape[axis], max(first.chunks[axis], second.chunks[axis])) or 1 for axis in range(3)
    ]
    for axis in (2, 1, 0):  # grow along x, then y, then z: the order in which slices lie
        room = max(1, voxels // (step[0] * step[1] * step[2]))
        step[axis] = min(shape[axis], step[axis] * room) or 1
    for z in range(0, shape[0], step[0]):
        for y in range(0, shape[1], step[1]):
            for x in range(0, shape[2], step[2]):
                yield (
                    (z, min(z + step[0], shape[0])),
                    (y, min(y + step[1], shape[1])),
                    (x, min(x + step[2], shape[2])),
                )


def level_scale_um(labels: Labels, level: int) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in micrometres of a level of a label image."""
    z, y, x = labels.levels[level].scale
    return float(z), float(y), float(x)


def _open_path(text: str, level: int, time: int) -> LabelSource:
    head, found, name = text.rstrip("/").rpartition("/labels/")
    if found and "/" not in name:
        from volseg.images.image import open_volume
        from volseg.images.labels import open_labels

        return LabelImageSource(open_labels(open_volume(head), name), level, time)
    from volseg.importing.opened import SourceOptions
    from volseg.importing.opening import open_image

    return FileSource(open_image(text, options=SourceOptions(labels=True)).as_labels(), text)
