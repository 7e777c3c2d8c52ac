"""Each frame of DICOM files as a `Plane`: where it lies, how its values are rescaled, which time or echo it is.

Per-frame functional groups come before shared ones, and these before the data set itself (DICOM PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.dicom_files import DicomFile
from volseg.importing.dicom_tags import first_item, number, numbers, text, whole
from volseg.importing.guard import reading, shown

Vector = tuple[float, ...]
TIME_MARKS = (
    ("TemporalPositionIndex", "FrameContentSequence"),
    ("TemporalPositionIdentifier", None),
    ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
    ("FrameReferenceTime", None),
    ("TriggerTime", None),
    ("FrameReferenceDateTime", "FrameContentSequence"),
    ("AcquisitionNumber", None),
    ("AcquisitionTime", None),
)
CHANNEL_MARKS = (
    ("EffectiveEchoTime", "MREchoSequence"),
    ("EchoNumbers", None),
    ("EchoTime", None),
    ("DiffusionBValue", "MRDiffusionSequence"),
    ("DiffusionBValue", None),
    ("ComplexImageComponent", "MRImageFrameTypeSequence"),
    ("OpticalPathIdentifier", "OpticalPathIdentificationSequence"),
    ("ImageType", None),
)
_CENTIMETRES = 3  # unit code of a calibrated ultrasound region, PS3.3 C.8.5.5.1.15
_FILMS = ("US", "IVUS", "XA", "RF", "XC", "ES", "GM")
_FRAME_TIMES = (0x00181063, 0x00181065)  # FrameTime, FrameTimeVector


@dataclass(frozen=True)
class Plane:
    """One frame of one file.

    Attributes
    ----------
    file, frame
        Index of the file, and of the frame in it.
    size
        Rows and columns.
    row, column
        Directions of a row and of a column (ImageOrientationPatient), or None.
    position
        Centre of the first pixel (x, y, z) in mm, to the left, back and head; or None.
    spacing_mm
        Pixel size (y, x); None where unknown.
    thickness_mm
        SpacingBetweenSlices, else SliceThickness; None where unknown.
    location, instance
        SliceLocation in mm, and InstanceNumber, or None.
    slope, intercept
        Real value = stored value × slope + intercept.
    marks
        What else tells frames at one place apart: times, echoes, ….
    """

    file: int
    frame: int
    size: tuple[int, int]
    row: Vector | None
    column: Vector | None
    position: Vector | None
    spacing_mm: tuple[float | None, float | None]
    thickness_mm: float | None
    location: float | None
    instance: int | None
    slope: float
    intercept: float
    marks: dict[str, float | str] = field(default_factory=dict)

    @property
    def normal(self) -> NDArray[np.float64] | None:
        """Unit vector at right angles to the plane, so that row, column and it are right-handed."""
        if self.row is None or self.column is None:
            return None
        found = np.cross(self.row, self.column)
        return np.asarray(found / np.linalg.norm(found))


def planes_of(files: Sequence[DicomFile]) -> list[Plane]:
    """Return the planes of all frames of all files.

    Raises
    ------
    UnsupportedFormatError
        If an element holds what it can't; the message names file and element.
    """
    found = []
    for index, file in enumerate(files):
        with reading(file.path, "DICOM file"):
            groups = _Groups(file.dataset)
            for frame, position in enumerate(_positions(groups, file.pixels.frames)):
                found.append(_plane(index, frame, file, groups, position))
    return found


def frames_are_times(dataset: Any) -> bool:
    """Return whether the frames of a file are a film: its frame increment is a time (PS3.3 C.7.6.6.1).

    Where the pointer is missing, a frame time does, with a modality that makes films.
    """
    pointers = dataset.get("FrameIncrementPointer")
    if pointers in (None, "") or pointers == []:
        timed = number(dataset, "FrameTime") is not None or "FrameTimeVector" in dataset
        return timed and text(dataset, "Modality") in _FILMS
    several = pointers if isinstance(pointers, (MutableSequence, tuple)) else [pointers]
    return any(int(tag) in _FRAME_TIMES for tag in several)


class _Groups:
    """A data set with its functional groups."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.shared = first_item(dataset, "SharedFunctionalGroupsSequence")
        self.per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])

    def holders(self, frame: int, sequence: str | None) -> Iterator[Any]:
        """Yield the data sets in which an element may stand, the most particular first."""
        own = self.per_frame[frame] if frame < len(self.per_frame) else None
        for group in (own, self.shared, self.dataset):
            if sequence is not None and (item := first_item(group, sequence)) is not None:
                yield item
        yield self.dataset

    def numbers(self, frame: int, sequence: str | None, keyword: str, count: int) -> Vector | None:
        """Return the numbers of the first holder that has them."""
        found = (numbers(holder, keyword, count) for holder in self.holders(frame, sequence))
        return next((values for values in found if values is not None), None)


def _plane(
    index: int, frame: int, file: DicomFile, groups: _Groups, position: Vector | None
) -> Plane:
    dataset = file.dataset
    slope, intercept = _rescaling(groups, frame, file)
    vector = groups.numbers(frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if vector is not None and not _is_rotation(vector):
        raise UnsupportedFormatError(
            f"{shown(file.path)}: ImageOrientationPatient {list(vector)} are no two perpendicular directions"
        )
    instance = number(dataset, "InstanceNumber")
    return Plane(
        index,
        frame,
        (file.pixels.rows, file.pixels.columns),
        _unit(vector[:3]) if vector else None,
        _unit(vector[3:]) if vector else None,
        position,
        _spacing(groups, frame),
        _thickness(groups, frame),
        number(dataset, "SliceLocation") if file.pixels.frames == 1 else None,
        None if instance is None else int(instance),
        slope,
        intercept,
        dict(_marks(groups, frame)),
    )


def _unit(vector: Vector) -> Vector:
    """A direction as written, often with few digits, brought to length 1."""
    length = math.hypot(*vector)
    return tuple(value / length for value in vector)


def _is_rotation(vector: Vector) -> bool:
    row, column = np.array(vector[:3]), np.array(vector[3:])
    lengths = [float(row @ row), float(column @ column)]
    return all(abs(n - 1) < 0.02 for n in lengths) and abs(float(row @ column)) < 0.02


def _rescaling(groups: _Groups, frame: int, file: DicomFile) -> tuple[float, float]:
    """Slope and intercept; radiation doses have a slope of their own name."""
    for holder in groups.holders(frame, "PixelValueTransformationSequence"):
        slope, intercept = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept")
        if slope is None and intercept is None:
            continue
        if slope == 0 or not np.isfinite([slope or 1.0, intercept or 0.0]).all():
            raise UnsupportedFormatError(
                f"{shown(file.path)}: RescaleSlope {slope:g} leaves nothing of the values; correct the file"
            )
        return 1.0 if slope is None else slope, intercept or 0.0
    if "ModalityLUTSequence" in groups.dataset:
        raise UnsupportedFormatError(
            f"{shown(file.path)}: its values go through a table (Modality LUT), which volseg does not read; "
            "export it with a rescale slope and intercept"
        )
    return number(groups.dataset, "DoseGridScaling") or 1.0, 0.0


def _spacing(groups: _Groups, frame: int) -> tuple[float | None, float | None]:
    found = groups.numbers(frame, "PixelMeasuresSequence", "PixelSpacing", 2)
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = found or numbers(groups.dataset, keyword, 2)
    found = found or _ultrasound_spacing(groups.dataset)
    return (found[0], found[1]) if found else (None, None)


def _ultrasound_spacing(dataset: Any) -> Vector | None:
    """Pixel size of calibrated regions, if they agree and are in centimetres."""
    sizes = set()
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        units = [whole(region, f"PhysicalUnits{axis}Direction", 0) for axis in "YX"]
        deltas = [number(region, f"PhysicalDelta{axis}") for axis in "YX"]
        if units == [_CENTIMETRES, _CENTIMETRES] and None not in deltas:
            sizes.add(tuple(round(abs(delta or 0.0) * 10, 9) for delta in deltas))
    return sizes.pop() if len(sizes) == 1 else None


def _thickness(groups: _Groups, frame: int) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        found = groups.numbers(frame, "PixelMeasuresSequence", keyword, 1)
        if found and found[0]:  # 0 is how some scanners say "unknown"
            return abs(found[0])
    return None


def _positions(groups: _Groups, frames: int) -> Iterator[Vector | None]:
    offsets = numbers(groups.dataset, "GridFrameOffsetVector", frames) if frames > 1 else None
    for frame in range(frames):
        holders = list(groups.holders(frame, "PlanePositionSequence"))
        if frames > 1:
            holders = holders[:-1]  # the data set's own position is the first frame's
        found = (numbers(holder, "ImagePositionPatient", 3) for holder in holders)
        place = next((values for values in found if values is not None), None)
        if place is None and offsets is not None:
            place = _offset_position(groups, offsets[frame] - offsets[0])
        yield place


def _offset_position(groups: _Groups, offset_mm: float) -> Vector | None:
    """Place of a frame of a radiation dose, which names offsets along the normal (PS3.3 C.8.8.3.2)."""
    first = numbers(groups.dataset, "ImagePositionPatient", 3)
    vector = numbers(groups.dataset, "ImageOrientationPatient", 6)
    if first is None or vector is None:
        return None
    normal = np.cross(vector[:3], vector[3:])
    return tuple(float(v) for v in np.array(first) + normal * offset_mm)


def _marks(groups: _Groups, frame: int) -> Iterator[tuple[str, float | str]]:
    for keyword, sequence in (*TIME_MARKS, *CHANNEL_MARKS):
        for holder in groups.holders(frame, sequence):
            said = text(holder, keyword)
            if said:
                try:
                    yield keyword, float(said)
                except ValueError:
                    yield keyword, said
                break
