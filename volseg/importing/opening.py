"""Which reader a source needs: by what the file begins with, then by its name."""

from __future__ import annotations

import os
from pathlib import Path

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.dicom_files import holds_dicom
from volseg.importing.guard import existing, reading, shown
from volseg.importing.image_kinds import (
    image_kind,
    image_kinds,
    left_to_bioformats,
    maker_of,
)
from volseg.importing.opened import AS_IT_IS, LETTERS, OpenedImage, SourceOptions
from volseg.importing.spool import Spool, fetch
from volseg.storage.chains import ARCHIVES
from volseg.storage.urls import is_url, parse_url

KINDS = (
    "TIFF (OME, ImageJ, LSM), DICOM, NIfTI, NRRD, HDF5, MRC, LIF, ND2, NumPy, PNG, JPEG, a folder of slices, "
    "OME-Zarr"
)
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar", ".tgz")


def open_image(
    source: str | os.PathLike[str],
    axes: str | None = None,
    options: SourceOptions = AS_IT_IS,
) -> OpenedImage:
    """Open an image of any kind that volseg reads, lazily.

    Parameters
    ----------
    source : path or URL
        A file, a folder of slices or of one DICOM series, or an OME-Zarr image; local, ``s3://``,
        ``https://`` or what else fsspec reads. Remote files are copied to a temporary file first.
    axes : str, optional
        One letter per axis, such as zyx or tczyx, where the file does not tell.
    options : SourceOptions
        Which of several images, and how it is read.

    Returns
    -------
    OpenedImage
        Close it, or use it as a context manager.

    Raises
    ------
    NotThereError
        If nothing is there.
    UnsupportedFormatError
        If it is damaged or of another kind.
    """
    axes = None if axes is None else axes.lower()
    image = _open(os.fspath(source), axes, options)
    others = {letter for letter in image.axes if letter != "s" and image.size(letter) > 1}
    if axes is not None and not others <= set(axes) <= {*image.axes, "s"}:
        image.close()
        raise InputError(
            f"{shown(source)}: axes {axes!r} contradict the {image.format_name}, which tells its axes itself: "
            + ", ".join(
                f"{letter} {image.size(letter)}" for letter in LETTERS if letter in image.axes
            )
        )
    return image


def _open(text: str, axes: str | None, options: SourceOptions) -> OpenedImage:
    location = parse_url(text) if is_url(text) or text.lower().endswith(ARCHIVES) else None
    path = Path(os.path.expanduser(text)) if location is None else location.local_path
    if path is None:
        return _open_remote(text, axes, options)
    existing(path)
    if path.is_dir():
        return _open_folder(path, axes, options)
    return _open_file(path, axes, options)


def _may_be_image(name: str) -> bool:
    """Whether a name is one of files of a kind that is read, or left to others."""
    known = tuple(end for one in image_kinds() for end in one.endings)
    return name.lower().endswith(known) or maker_of(name) is not None


def _open_remote(text: str, axes: str | None, options: SourceOptions) -> OpenedImage:
    location = parse_url(text)
    if not _may_be_image(location.name):
        from volseg.errors import NotOmeZarrError
        from volseg.importing.ome_zarr import open_ome_zarr

        try:
            return open_ome_zarr(text, options)
        except NotOmeZarrError:
            if location.scheme.startswith("http") or location.name.lower().endswith(".zarr"):
                raise
    spool = Spool()
    try:
        found = fetch(location, spool)
        open_found = _open_folder if found.is_dir() else _open_file
        image = open_found(found, axes, options)
    except BaseException:
        spool.close()
        raise
    inner = image.close_with

    def close() -> None:
        if inner is not None:
            inner()
        spool.close()

    image.close_with = close
    return image


def _open_folder(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    if any((path / name).exists() for name in ("zarr.json", ".zattrs", ".zgroup")):
        from volseg.importing.ome_zarr import open_ome_zarr

        return open_ome_zarr(os.fspath(path), options)
    with reading(path, "folder"):
        files = [path / name for name in sorted(os.listdir(path)) if not name.startswith(".")]
    if any(file.is_file() and _is_dicom(file) for file in files) or holds_dicom(path):
        from volseg.importing.dicom import open_dicom

        return open_dicom(path, axes, options)
    from volseg.importing.stack import open_folder

    return open_folder(path, axes, options)


def _open_file(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    kind = image_kind(path)
    if kind is not None:
        try:
            return kind.open(path, axes, options)
        except UnsupportedFormatError:
            if kind.name != "TIFF" or maker_of(path.name) is None:
                raise
            raise left_to_bioformats(path) from None
    if maker_of(path.name) is not None:
        raise left_to_bioformats(path)
    if path.name.lower().endswith(_PACKED):
        raise UnsupportedFormatError(
            f"{shown(path)}: a packed file; unpack it, then give what was in it ({KINDS})"
        )
    raise UnsupportedFormatError(f"{shown(path)}: not a kind of file that volseg reads ({KINDS})")


def _is_dicom(path: Path) -> bool:
    kind = image_kind(path)
    return kind is not None and kind.name == "DICOM"
