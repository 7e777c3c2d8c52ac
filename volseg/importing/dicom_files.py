"""DICOM files on disk: which ones a folder or a DICOMDIR has, their headers, and the series they belong to."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.dicom_pixels import PixelFormat, pixel_format
from volseg.importing.dicom_tags import text, whole
from volseg.importing.guard import reading, shown

_NO_IMAGES = {"SR", "PR", "KO", "DOC", "PLAN", "REG", "RTSTRUCT", "RTPLAN", "RTRECORD", "FID", "AU"}
"""Modalities of files that accompany images and have no pixels."""
_IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DicomFile:
    """One file's header, without pixels, and what is needed to decode them."""

    path: Path
    dataset: Any
    pixels: PixelFormat

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return text(self.dataset, "SeriesInstanceUID")


def looks_like_dicom(start: bytes) -> bool:
    """Return whether a file that begins so is DICOM, also without preamble or file meta information."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    little = start[1] == 0
    group = int.from_bytes(start[:2], "little" if little else "big")
    element = int.from_bytes(start[2:4], "little" if little else "big")
    if group not in (2, 8) or element > 0x70:
        return False
    explicit = start[4:6] in (b"UL", b"CS", b"UI", b"OB", b"DA", b"TM", b"SH", b"LO")
    length = int.from_bytes(start[4:8], "little" if little else "big")
    return explicit or (length == 4 if element == 0 else 0 < length <= 64)


def read_file(path: Path) -> DicomFile:
    """Read the header of a file.

    Raises
    ------
    UnsupportedFormatError
        If it is damaged, or holds no image that volseg reads as one.
    """
    dataset = _read_header(path)
    if _is_segmentation(dataset):
        raise _segmentation(path)
    with reading(path, "DICOM file"):
        return DicomFile(path, dataset, _pixels(path, dataset))


def _read_header(path: Path) -> Any:
    import pydicom

    with reading(path, "DICOM file"), path.open("rb") as file:
        if not looks_like_dicom(file.read(132)):
            raise UnsupportedFormatError(f"{shown(path)}: not a DICOM file")
        file.seek(0)
        return pydicom.dcmread(file, stop_before_pixels=True, force=True)


def _is_segmentation(dataset: Any) -> bool:
    return (
        text(dataset, "Modality") == "SEG"
        or text(dataset, "SOPClassUID") in _SEGMENTATION
        or text(dataset, "BitsAllocated") == "1"
    )


def _segmentation(path: Path) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{shown(path)}: a DICOM segmentation, no image; import it as labels of the image that it belongs to: "
        "volseg import-labels FILE URL NAME"
    )


def _pixels(path: Path, dataset: Any) -> PixelFormat:
    tiles = [whole(dataset, f"TotalPixelMatrix{side}", 0) for side in ("Rows", "Columns")]
    if tiles[0] > whole(dataset, "Rows", 0) or tiles[1] > whole(dataset, "Columns", 0):
        raise UnsupportedFormatError(
            f"{shown(path)}: its frames are tiles of a whole slide, not slices; "
            "convert it with bioformats2raw, and open what that writes"
        )
    return pixel_format(path, dataset, _transfer_syntax(dataset))


def _transfer_syntax(dataset: Any) -> str:
    """The transfer syntax, by the bytes themselves where the file meta information is missing."""
    said = text(getattr(dataset, "file_meta", None), "TransferSyntaxUID")
    if said:
        return said
    implicit, little = dataset.original_encoding
    return _IMPLICIT if implicit else _EXPLICIT if little else _BIG


def files_of(path: Path) -> list[DicomFile]:
    """Read the headers of a file, of a DICOMDIR's files, or of a folder's.

    What accompanies the images of a folder (reports, plans, contours, segmentations) is passed over. Where a folder has
    neither images nor a DICOMDIR itself, those of all folders below count.

    Raises
    ------
    UnsupportedFormatError
        If one is damaged, or there is no image.
    """
    if path.is_file():
        if not _is_directory_file(path):
            return [read_file(path)]
        paths = _listed_in(path)
    else:
        paths = _paths_in(path)
        listed = _directory_file_in(path)
        if not paths:
            paths = _listed_in(listed) if listed is not None else _paths_below(path)
    found, segmentations = [], []
    for one in paths:
        dataset = _read_header(one)
        if _is_segmentation(dataset):
            segmentations.append(one)
        elif "Rows" in dataset or text(dataset, "Modality") not in _NO_IMAGES:
            with reading(one, "DICOM file"):
                found.append(DicomFile(one, dataset, _pixels(one, dataset)))
    if not found:
        if segmentations:
            raise _segmentation(segmentations[0])
        raise UnsupportedFormatError(f"{shown(path)}: no DICOM images in it")
    return _without_copies(found)


def holds_dicom(folder: Path) -> bool:
    """Return whether a folder without files of its own has DICOM in the folders below, as archives write it."""
    with reading(folder, "folder"):
        own = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    if any(entry.is_file() for entry in own):
        return False
    for base, _, names in os.walk(folder):
        for name in sorted(names):
            with reading(Path(base, name), "file"), Path(base, name).open("rb") as file:
                return looks_like_dicom(file.read(132))
    return False


def _paths_below(folder: Path) -> list[Path]:
    return [path for base, _, _ in sorted(os.walk(folder)) for path in _paths_in(Path(base))]


def _paths_in(folder: Path) -> list[Path]:
    with reading(folder, "folder"):
        names = sorted(n for n in os.listdir(folder) if not n.startswith("."))
    found = []
    for name in names:
        file = folder / name
        if not file.is_file() or name.upper() == "DICOMDIR":
            continue
        with reading(file, "file"), file.open("rb") as handle:
            start = handle.read(132)
        if looks_like_dicom(start) or name.lower().endswith((".dcm", ".dicom")):
            found.append(file)
    return found


def _directory_file_in(folder: Path) -> Path | None:
    names = [name for name in os.listdir(folder) if name.upper() == "DICOMDIR"]
    return folder / names[0] if names else None


def _is_directory_file(path: Path) -> bool:
    return path.name.upper() == "DICOMDIR"


def _listed_in(directory_file: Path) -> list[Path]:
    """The image files that a DICOMDIR names, all of them below its own folder."""
    import pydicom

    root = directory_file.parent
    with reading(directory_file, "DICOMDIR"):
        records = pydicom.dcmread(directory_file).get("DirectoryRecordSequence") or []
        images = [r for r in records if text(r, "DirectoryRecordType") == "IMAGE"]
        found = []
        for record in images:
            parts = text(record, "ReferencedFileID").split("\\")
            if any(part in ("", ".", "..") or "/" in part for part in parts):
                raise UnsupportedFormatError(
                    f"{shown(directory_file)}: names the file {'/'.join(parts)!r}, which is not below its folder"
                )
            found.append(_on_disk(root, parts, directory_file))
    return found


def _on_disk(root: Path, parts: list[str], directory_file: Path) -> Path:
    """A file by its path, whatever case the medium's file system gave the names."""
    place = root
    for part in parts:
        names = {name.upper(): name for name in os.listdir(place)} if place.is_dir() else {}
        if part.upper() not in names:
            raise UnsupportedFormatError(
                f"{shown(directory_file)}: names the file {'/'.join(parts)}, which is missing; copy the whole medium"
            )
        place = place / names[part.upper()]
    return place


def _without_copies(files: list[DicomFile]) -> list[DicomFile]:
    """Leave out files that are byte for byte another one."""
    times = Counter(text(file.dataset, "SOPInstanceUID") for file in files)
    seen: dict[bytes, Path] = {}
    kept = []
    for file in files:
        if times[text(file.dataset, "SOPInstanceUID")] > 1:
            with file.path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "blake2b").digest()
            if digest in seen:
                _LOG.warning(
                    "%s is a copy of %s; left out", shown(file.path), shown(seen[digest].name)
                )
                continue
            seen[digest] = file.path
        kept.append(file)
    return kept


def one_series(path: Path, files: list[DicomFile], wanted: str | None) -> list[DicomFile]:
    """Return the files of one series.

    Parameters
    ----------
    wanted : str or None
        Its SeriesInstanceUID or SeriesNumber, where there are several.

    Raises
    ------
    InputError
        If there are several and none was chosen, or the chosen one is not there; the message lists them.
    """
    series: dict[str, list[DicomFile]] = {}
    for file in files:
        series.setdefault(file.series, []).append(file)
    if wanted is not None:
        chosen = [
            uid
            for uid, group in series.items()
            if wanted in (uid, text(group[0].dataset, "SeriesNumber"))
        ]
        if len(chosen) == 1:
            return series[chosen[0]]
        how = "no series" if not chosen else f"{len(chosen)} series are called"
        raise InputError(f"{shown(path)}: {how} {wanted!r}; there are: {_listed(series)}")
    if len(series) > 1:
        raise InputError(
            f"{shown(path)}: {len(series)} series are mixed here; choose one with --series NUMBER_OR_UID: "
            f"{_listed(series)}"
        )
    return files


def _listed(series: dict[str, list[DicomFile]]) -> str:
    lines = []
    for uid, group in sorted(series.items())[:20]:
        first = group[0].dataset
        number = text(first, "SeriesNumber") or "without a number"
        files = f"{len(group)} file" + ("s" if len(group) > 1 else "")
        what = " ".join(filter(None, (text(first, "Modality"), text(first, "SeriesDescription"))))
        lines.append(f"{number} ({what or '?'}, {files}, {uid})")
    return "; ".join(lines) + (f"; and {len(series) - 20} more" if len(series) > 20 else "")
