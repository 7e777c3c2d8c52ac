"""DICOM: single images, multi-frame images and series of one file per slice, through pydicom.

Geometry and pixel values only: patient data is never read beyond what ordering the slices needs.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.dicom_pixels import Frames, check_pixels
from volseg.importing.dicom_series import Geometry, geometry_of, order_files
from volseg.importing.guard import printable, reading, shown
from volseg.importing.opened import OpenedImage
from volseg.importing.tiff_facts import in_micrometres

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


@dataclass(frozen=True)
class Header:
    """What of one file's header matters: geometry, series and place in it."""

    path: Path
    series: str
    description: str
    geometry: Geometry
    dataset: Any


def open_dicom(path: Path, series: str | None = None) -> OpenedImage:
    """Open a DICOM file, or a folder with one series.

    Slices are ordered by their position along the normal of the image plane (their file names and
    instance numbers don't matter). Rescale slope and intercept are applied; MONOCHROME1 is inverted
    so that bright is much; YBR and palettes become RGB.

    Parameters
    ----------
    path : Path
        A file or a folder.
    series : str, optional
        SeriesInstanceUID, where a folder has several.

    Raises
    ------
    UnsupportedFormatError
        If a file is damaged, slices differ in shape or orientation, lie on one another, or one is
        missing.
    InputError
        If there are several series and none was chosen.
    """
    with reading(path, "DICOM file"):
        headers = [_header(path)] if path.is_file() else _headers(path)
        return _opened(path, _one_series(path, headers, series))


def _opened(path: Path, headers: list[Header]) -> OpenedImage:
    ordered = order_files([h.geometry for h in headers], [h.path for h in headers])
    headers = [headers[at] for at in ordered.order]
    frames = Frames([(h.path, h.dataset) for h in headers])
    first = headers[0].geometry
    spacing = ordered.step_mm or first.thickness_mm
    y, x = first.spacing_mm
    letters = "zyxs" if len(frames.shape) == 4 else "zyx"
    array: Any = frames
    if ordered.reversed_frames:
        array = _Flipped(frames)
    return OpenedImage(
        path,
        "DICOM file" if path.is_file() else "DICOM series",
        array,
        letters,
        scale_um=tuple(in_micrometres(n, "mm") if n else None for n in (spacing, y, x)),  # type: ignore[arg-type]
        is_rgb=letters == "zyxs",
        facts=_facts(first, ordered.origin_mm, ordered.step_mm, headers[0].dataset),
        private=_private(headers[0].dataset),
    )


def _headers(folder: Path) -> list[Header]:
    with reading(folder, "folder"):
        names = sorted(n for n in os.listdir(folder) if not n.startswith("."))
    found = []
    for name in names:
        file = folder / name
        if not file.is_file() or name.upper() == "DICOMDIR":
            continue
        with reading(file, "file"), file.open("rb") as handle:
            is_dicom = handle.read(132)[128:] == b"DICM"
        if is_dicom or name.lower().endswith((".dcm", ".dicom")):
            found.append(_header(file))
    if not found:
        raise UnsupportedFormatError(f"{shown(folder)}: no DICOM images in this folder")
    return found


def _header(path: Path) -> Header:
    import pydicom

    with reading(path, "DICOM file"):
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=False)
        check_pixels(path, dataset)
        return Header(
            path,
            str(dataset.get("SeriesInstanceUID", "")),
            f"{dataset.get('Modality', '?')} {dataset.get('SeriesNumber', '')}".strip(),
            geometry_of(dataset),
            dataset,
        )


def _one_series(path: Path, headers: list[Header], series: str | None) -> list[Header]:
    known = {h.series: h for h in headers}
    if series is not None:
        if series not in known:
            raise InputError(f"{shown(path)}: no series {series!r}")
        return [h for h in headers if h.series == series]
    if len(known) > 1:
        listed = "; ".join(
            f"{uid} ({h.description}, {sum(o.series == uid for o in headers)} files)"
            for uid, h in sorted(known.items())[:5]
        )
        raise InputError(
            f"{shown(path)}: {len(known)} series are mixed in this folder: {listed}. "
            "Put the files of one series into a folder of their own"
        )
    return headers


def _facts(
    geometry: Geometry, origin: tuple[float, ...] | None, step: float | None, dataset: Any
) -> dict[str, Any]:
    facts: dict[str, Any] = {"modality": str(dataset.get("Modality", ""))}
    y, x = geometry.spacing_mm
    if origin is None or geometry.row is None or geometry.column is None or not (y and x):
        return facts
    row, column = np.array(geometry.row), np.array(geometry.column)
    normal = np.cross(row, column)
    affine = np.eye(4)
    affine[:3, 0] = row * x
    affine[:3, 1] = column * y
    affine[:3, 2] = normal * (step or geometry.thickness_mm or 1.0)
    affine[:3, 3] = origin
    affine[:2] *= -1  # DICOM points to the left and back, NIfTI to the right and front
    if not all(math.isfinite(v) for v in affine.ravel()):
        return facts
    return facts | {"affine_ras_mm": affine.tolist()}


def _private(dataset: Any) -> dict[str, str]:
    """What the header says of patient and study."""
    found = {name: str(dataset.get(name, "")) for name in _PRIVATE}
    return {name: printable(value) for name, value in found.items() if value}


class _Flipped:
    """Frames in reverse order along z."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.shape, self.dtype = frames.shape, frames.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        part, rest, n = index[0], index[1:], self.shape[0]
        if not isinstance(part, slice):
            return self._frames[(n - 1 - int(part), *rest)]
        start, stop, _ = part.indices(n)
        return self._frames[(slice(n - stop, n - start), *rest)][::-1]
