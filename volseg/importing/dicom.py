"""DICOM: single images, multi-frame images and series of one file per slice, through pydicom.

Geometry and pixel values only: patient data is never read beyond what ordering the slices needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.images.voxel_size import LIGHT, MEDICAL
from volseg.importing.dicom_files import DicomFile, files_of, one_series
from volseg.importing.dicom_frames import Frames
from volseg.importing.dicom_planes import Plane, frames_are_times, planes_of
from volseg.importing.dicom_series import Stack, shift_pixels, stack_of
from volseg.importing.dicom_tags import text
from volseg.importing.dicom_tilt import Straightened
from volseg.importing.guard import reading, shown
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions

_PRIVATE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyDescription",
    "SeriesDescription",
    "AccessionNumber",
    "InstitutionName",
)
_SLIDE = "SM"


def open_dicom(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open a DICOM file, a DICOMDIR, or a folder with one series.

    Slices are ordered by their position along the normal of the image plane (their file names and instance numbers
    don't matter); frames at one place become times (t) or echoes, b-values and the like (c). Rescale slope and
    intercept are applied frame by frame; MONOCHROME1 is inverted so that bright is much; YBR and palettes become RGB.

    Parameters
    ----------
    path : Path
        A file or a folder.
    options : SourceOptions
        `series`: SeriesInstanceUID or SeriesNumber, where there are several; `resample_tilt`.

    Raises
    ------
    UnsupportedFormatError
        If a file is damaged, slices differ in shape or orientation, lie on one another, are shifted against each other
        by a tilted gantry, or one is missing.
    InputError
        If there are several series and none was chosen.
    """
    with reading(path, "DICOM file"):
        files = one_series(path, files_of(path), options.series)
        planes = planes_of(files)
        film = len(files) == 1 and len(planes) > 1 and frames_are_times(files[0].dataset)
        return _opened_film(path, files, planes) if film else _opened(path, files, planes, options)


def _opened(
    path: Path, files: list[DicomFile], planes: list[Plane], options: SourceOptions
) -> OpenedImage:
    def name(plane: Plane) -> str:
        file = files[plane.file]
        frame = f" (frame {plane.frame + 1})" if file.pixels.frames > 1 else ""
        return f"{shown(file.path)}{frame}"

    stack = stack_of(planes, name)
    first = planes[int(stack.order[0, 0, 0])]
    lead = "".join(a for a, n in zip("tc", stack.order.shape, strict=False) if n > 1)
    order = stack.order.reshape([n for n in stack.order.shape[:2] if n > 1] + [-1])
    frames = Frames(files, planes, order)
    shift = shift_pixels(first, stack)
    array: Any = frames
    if shift != (0.0, 0.0):
        if not options.resample_tilt:
            raise _tilted(path, first, stack)
        array = Straightened(frames, shift)
    letters = lead + "zyx" + "s" * frames.is_colour
    distance = stack.distance_mm or first.thickness_mm
    facts = _facts(first, stack, array)
    return _image(path, files, array, letters, (distance, *first.spacing_mm), facts)


def _opened_film(path: Path, files: list[DicomFile], planes: list[Plane]) -> OpenedImage:
    """A film of one slice, as ultrasound and angiography make it: its frames are times."""
    frames = Frames(files, planes, np.arange(len(planes)))
    sides = (planes[0].thickness_mm, *planes[0].spacing_mm)
    return _image(path, files, frames, "tyx" + "s" * frames.is_colour, sides, {})


def _image(
    path: Path,
    files: list[DicomFile],
    array: Any,
    letters: str,
    sides_mm: Sequence[float | None],
    facts: dict[str, Any],
) -> OpenedImage:
    dataset = files[0].dataset
    modality = text(dataset, "Modality")
    z, y, x = (None if side is None else float(f"{side * 1000:.9g}") for side in sides_mm)
    return OpenedImage(
        path,
        "DICOM series" if len(files) > 1 or path.is_dir() else "DICOM file",
        array,
        letters,
        scale_um=(z, y, x),
        bounds=LIGHT if modality == _SLIDE else MEDICAL,
        is_rgb=letters.endswith("s"),
        facts={"modality": modality} | facts,
        private=_private(dataset),
    )


def _tilted(path: Path, first: Plane, stack: Stack) -> UnsupportedFormatError:
    step, distance = stack.step_mm or (), stack.distance_mm or 0.0
    length = float(np.linalg.norm(step))
    angle = math.degrees(math.acos(min(1.0, abs(distance) / length)))
    y, x = (abs(n) * (stack.order.shape[-1] - 1) for n in shift_pixels(first, stack))
    return UnsupportedFormatError(
        f"{shown(path)}: its slices are shifted sideways (gantry tilt of {angle:.1f}°, {y:.1f} pixels along y "
        f"and {x:.1f} along x over the stack), so that z would not be at right angles to them; straighten them with "
        "--resample-tilt"
    )


def _facts(first: Plane, stack: Stack, array: Any) -> dict[str, Any]:
    """The affine from voxels (x, y, z) to millimetres to the right, front and head, and what t and c are."""
    facts: dict[str, Any] = {}
    if stack.time_mark:
        facts["times_by"] = stack.time_mark
    if stack.channel_mark:
        facts["channels_by"] = stack.channel_mark
    y, x = first.spacing_mm
    if first.position is None or first.row is None or first.column is None or not (y and x):
        return facts
    row, column = np.array(first.row) * x, np.array(first.column) * y
    normal = np.array(first.normal)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row, column
    affine[:3, 2] = normal * (stack.distance_mm or first.thickness_mm or 1.0)
    affine[:3, 3] = first.position
    if isinstance(array, Straightened):
        affine[:3, 3] += column * array.first[0] + row * array.first[1]
    elif stack.step_mm is not None:
        affine[:3, 2] = stack.step_mm
    affine[:2] *= -1  # DICOM points to the left and back, NIfTI to the right and front
    if not np.isfinite(affine).all():
        return facts
    return facts | {"affine_ras_mm": affine.tolist()}


def _private(dataset: Any) -> dict[str, str]:
    """What the header says of patient and study."""
    found = {name: text(dataset, name) for name in _PRIVATE}
    return {name: value for name, value in found.items() if value}
