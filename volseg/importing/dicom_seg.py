"""DICOM SEG as labels: frames of segments, placed by their position onto the volume's grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.geometry import Region
from volseg.images.placement import affine_of_volume
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.label_layer import LabelLayer, Piece

if TYPE_CHECKING:
    from volseg.images.image import Volume

_OFF = 0.1
"""Voxels by which a frame may lie beside the grid: rounding of positions, not another grid."""
_TRACKED = "volseg "


def open_segmentation(path: Path, volume: Volume) -> list[LabelLayer]:
    """Read a segmentation as one label layer.

    Binary segments, fractional ones from half of their maximum on, and label maps are read. Ids are the numbers of the
    segments (those of volseg where it wrote the file), classes are their labels. Where segments overlap, the lower
    number keeps the voxel. Frames must lie on the voxels of the volume's level 0.

    Raises
    ------
    UnsupportedFormatError
        If the file is damaged.
    InputError
        If a frame does not lie on the volume's grid.
    """
    import pydicom

    with reading(path, "DICOM segmentation"):
        dataset = pydicom.dcmread(path)
        if dataset.get("SegmentationType") not in ("BINARY", "FRACTIONAL", "LABELMAP"):
            raise UnsupportedFormatError(
                f"{shown(path)}: segmentation type {dataset.get('SegmentationType')!r}; expected BINARY, FRACTIONAL or "
                "LABELMAP"
            )
        segments = _Segments(path, dataset, volume)
    return [LabelLayer(None, volume.shape, 1, segments.pieces, objects=segments.objects())]


class _Segments:
    """The frames of a segmentation, by the slice that they lie on."""

    def __init__(self, path: Path, dataset: Any, volume: Volume) -> None:
        self._path, self._dataset = path, dataset
        self._size = int(dataset.Rows), int(dataset.Columns)
        self._kind = str(dataset.SegmentationType)
        self._ids = {int(one.SegmentNumber): _id_of(one) for one in dataset.SegmentSequence}
        self._classes = {_id_of(one): _class_of(one) for one in dataset.SegmentSequence}
        self._native = not dataset.file_meta.TransferSyntaxUID.is_compressed
        frames = int(dataset.get("NumberOfFrames", 1))
        bits = self._size[0] * self._size[1] * int(dataset.BitsAllocated)
        if self._native:
            check_size(path, frames * bits // 8, len(dataset.PixelData), compressed=False)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        own = list(dataset.PerFrameFunctionalGroupsSequence)
        if len(own) != frames:
            raise UnsupportedFormatError(
                f"{shown(path)}: {frames} frames, but {len(own)} positions"
            )
        grid = _Grid(path, volume, self._size)
        self._frames: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        for number, groups in enumerate(own):
            z, y, x = grid.place(number, groups, shared)
            self._frames[z].append((number, self._segment(groups, shared), y, x))

    def objects(self) -> list[dict[str, Any]]:
        """What the file says of each object."""
        return [{"id": one, "t": 0, "class": name} for one, name in self._classes.items() if name]

    def pieces(self, regions: list[Region]) -> Iterator[Piece]:
        """Draw the frames of each region in which there is one."""
        for region in regions:
            (z0, z1), _, _ = region
            if any(z in self._frames for z in range(z0, z1)):
                with reading(self._path, "DICOM segmentation"):
                    ids = self._draw(region)
                yield 0, region, ids

    def _draw(self, region: Region) -> NDArray[np.uint32]:
        (z0, z1), (y0, y1), (x0, x1) = region
        ids = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.uint32)
        for z in range(z0, z1):
            for number, segment, y, x in sorted(self._frames.get(z, ()), key=lambda one: -one[1]):
                frame = self._frame(number, segment)
                rows = max(y0, y), min(y1, y + self._size[0])
                columns = max(x0, x), min(x1, x + self._size[1])
                if rows[0] >= rows[1] or columns[0] >= columns[1]:
                    continue
                part = frame[rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x]
                target = ids[z - z0, rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0]
                np.copyto(target, part, where=part > 0)
        return ids

    def _frame(self, number: int, segment: int) -> NDArray[Any]:
        """Ids (y, x) of one frame."""
        stored = self._stored(number)
        if self._kind == "LABELMAP":
            table = np.arange(int(stored.max(initial=0)) + 1, dtype=np.uint32)
            for one, known in self._ids.items():
                if one < len(table):
                    table[one] = known
            return table[stored]
        if self._kind == "FRACTIONAL":
            stored = stored.astype(np.uint32) * 2 >= int(self._dataset.MaximumFractionalValue)
        return np.where(stored, np.uint32(segment), np.uint32(0))

    def _stored(self, number: int) -> NDArray[Any]:
        """Values (y, x) of one frame; single bits are packed without gaps between frames."""
        if not self._native:
            from pydicom.pixels import pixel_array

            found: NDArray[Any] = pixel_array(self._dataset, index=number)
            return found
        count = self._size[0] * self._size[1]
        data, bits = self._dataset.PixelData, int(self._dataset.BitsAllocated)
        if bits == 1:
            first = number * count
            packed = np.frombuffer(data, np.uint8)[first // 8 : -(-(first + count) // 8)]
            flat = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + count]
        else:
            flat = np.frombuffer(data, f"<u{bits // 8}", count, number * count * bits // 8)
        return flat.reshape(self._size)

    def _segment(self, groups: Any, shared: Any) -> int:
        if self._kind == "LABELMAP":
            return 0
        found = _group("SegmentIdentificationSequence", groups, shared)
        return self._ids[int(found.ReferencedSegmentNumber)]


class _Grid:
    """The volume's voxels in the space of the patient, in DICOM's directions (left, back, up)."""

    def __init__(self, path: Path, volume: Volume, size: tuple[int, int]) -> None:
        self._path, self._shape, self._size = path, volume.shape, size
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_of_volume(volume)
        self._inverse = np.linalg.inv(affine)

    def place(self, number: int, groups: Any, shared: Any) -> tuple[int, int, int]:
        """Return the voxel (z, y, x) of a frame's first pixel.

        Raises
        ------
        InputError
            If its pixels are not the volume's voxels.
        """
        position = _group("PlanePositionSequence", groups, shared).ImagePositionPatient
        directions = _group("PlaneOrientationSequence", groups, shared).ImageOrientationPatient
        spacing = _group("PixelMeasuresSequence", groups, shared).PixelSpacing
        row, column = np.array(directions[:3], float), np.array(directions[3:], float)
        turn = self._inverse[:3, :3]
        along_x, along_y = turn @ row * float(spacing[1]), turn @ column * float(spacing[0])
        drift = np.abs([along_x - (1, 0, 0), along_y - (0, 1, 0)]) * [
            [self._size[1]],
            [self._size[0]],
        ]
        x, y, z = (self._inverse @ [*map(float, position), 1.0])[:3]
        first = np.round([z, y, x])
        if drift.max() > _OFF or np.abs(first - (z, y, x)).max() > _OFF:
            raise self._refused(
                number, "pixels are not the volume's voxels: resample it onto the image"
            )
        z0, y0, x0 = (int(n) for n in first)
        depth, height, width = self._shape
        if not (
            0 <= z0 < depth
            and 0 <= y0 <= height - self._size[0]
            and 0 <= x0 <= width - self._size[1]
        ):
            raise self._refused(number, f"first voxel is ({z0}, {y0}, {x0}), outside")
        return z0, y0, x0

    def _refused(self, number: int, why: str) -> InputError:
        size = " × ".join(map(str, self._size))
        volume = " × ".join(map(str, self._shape))
        return InputError(
            f"{shown(self._path)}: frame {number} ({size}) does not lie on the volume ({volume} voxels z, y, x): "
            f"its {why}"
        )


def _group(name: str, groups: Any, shared: Any) -> Any:
    """A functional group of a frame, or of all."""
    found = groups.get(name) or shared.get(name)
    if not found:
        raise UnsupportedFormatError(f"no {name} in it")
    return found[0]


def _id_of(segment: Any) -> int:
    """The object that a segment is: its number, or the id that volseg wrote down."""
    tracked = str(segment.get("TrackingID", ""))
    number = tracked.removeprefix(_TRACKED)
    return (
        int(number)
        if tracked.startswith(_TRACKED) and number.isdigit()
        else int(segment.SegmentNumber)
    )


def _class_of(segment: Any) -> str | None:
    label = str(segment.get("SegmentLabel", "")).strip()
    return None if not label or label.endswith(f" {_id_of(segment)}") else label
