"""Which reader a source needs: by what the file begins with, then by its name."""

from __future__ import annotations

import os
from pathlib import Path

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.dicom_files import holds_dicom, looks_like_dicom
from volseg.importing.guard import existing, reading, shown
from volseg.importing.image_kinds import (
    IMAGE_KINDS,
    LEFT_TO_OTHERS,
    image_kind,
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
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar", ".tgz")
_SUFFIXES = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".btf": "tiff",
    ".lsm": "tiff",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".hdr": "nifti",
    ".hdr.gz": "nifti",
    ".img": "nifti",
    ".img.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".npy": "numpy",
    ".npz": "numpy",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".bmp": "picture",
}
_ENDINGS = (
    *_SUFFIXES,
    *(end for one in IMAGE_KINDS for end in one.endings),
    *(end for endings in LEFT_TO_OTHERS.values() for end in endings),
)


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


def _open_remote(text: str, axes: str | None, options: SourceOptions) -> OpenedImage:
    location = parse_url(text)
    if not location.name.lower().endswith(_ENDINGS):
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
    if any(file.is_file() and _kind(file) == "dicom" for file in files) or holds_dicom(path):
        from volseg.importing.dicom import open_dicom

        return open_dicom(path, options)
    from volseg.importing.stack import open_folder

    return open_folder(path, axes, options)


def _open_file(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    kind = _kind(path)
    if kind == "tiff":
        from volseg.importing.tiff import open_tiff

        try:
            return open_tiff(path, axes, options)
        except UnsupportedFormatError:
            if maker_of(path.name) is None:
                raise
            raise left_to_bioformats(path) from None
    if kind == "numpy":
        from volseg.importing.numpy_files import open_numpy

        return open_numpy(path, axes)
    if kind == "nifti":
        from volseg.importing.nifti import open_nifti

        return open_nifti(path, axes)
    if kind == "nrrd":
        from volseg.importing.nrrd_files import open_nrrd

        return open_nrrd(path, axes)
    if kind == "dicom":
        from volseg.importing.dicom import open_dicom

        return open_dicom(path, options)
    if kind == "picture":
        from volseg.importing.pictures import open_picture

        return open_picture(path, axes, options)
    if (other := image_kind(path)) is not None:
        return other.open(path, axes, options)
    if maker_of(path.name) is not None:
        raise left_to_bioformats(path)
    if path.name.lower().endswith(_PACKED):
        raise UnsupportedFormatError(
            f"{shown(path)}: a packed file; unpack it, then give what was in it ({KINDS})"
        )
    raise UnsupportedFormatError(f"{shown(path)}: not a kind of file that volseg reads ({KINDS})")


def _kind(path: Path) -> str | None:
    """The kind of a file by its first bytes, else by its name."""
    with reading(path, "file"), path.open("rb") as file:
        start = file.read(132)
    if looks_like_dicom(start) or path.name.upper() == "DICOMDIR":
        return "dicom"
    if start[:4] in _TIFF_STARTS:
        return "tiff"
    if start[:6] == b"\x93NUMPY":
        return "numpy"
    if start[:4] == b"NRRD":
        return "nrrd"
    if start[:8] == b"\x89PNG\r\n\x1a\n" or start[:3] == b"\xff\xd8\xff":
        return "picture"
    name = path.name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)
