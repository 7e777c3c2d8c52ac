"""The kinds of image files that volseg reads, a line each; and those that it leaves to others."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from volseg.errors import UnsupportedFormatError
from volseg.extensions import extensions
from volseg.importing.dicom_files import looks_like_dicom
from volseg.importing.guard import reading, shown
from volseg.importing.opened import OpenedImage, SourceOptions

GROUP = "volseg.importers"
HDF5_START = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class ImageKind:
    """One kind of file.

    Attributes
    ----------
    name
        For people.
    endings
        Of names that such files have.
    where
        Module and function that open it, as (path, axes, options) → OpenedImage: ``"module:function"``.
    is_one
        Whether the first 512 bytes are of this kind, whatever the name is.
    """

    name: str
    endings: tuple[str, ...]
    where: str
    is_one: Callable[[bytes], bool] = lambda start: False

    def open(self, path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
        """Open a file of this kind."""
        found: Any = resolve_name(self.where)
        image: OpenedImage = found(path, axes, options)
        return image


def _starts(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(starts)


# fmt: off
_OWN = (
    ImageKind("DICOM", (".dcm", ".dicom", "dicomdir"), "volseg.importing.dicom:open_dicom", looks_like_dicom),
    ImageKind("TIFF", (".tif", ".tiff", ".btf", ".lsm"), "volseg.importing.tiff:open_tiff",
              _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ImageKind("NumPy", (".npy", ".npz"), "volseg.importing.numpy_files:open_numpy", _starts(b"\x93NUMPY")),
    ImageKind("NIfTI", (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"), "volseg.importing.nifti:open_nifti"),
    ImageKind("NRRD", (".nrrd", ".nhdr"), "volseg.importing.nrrd_files:open_nrrd", _starts(b"NRRD")),
    ImageKind("picture", (".png", ".jpg", ".jpeg", ".bmp"), "volseg.importing.pictures:open_picture",
              _starts(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")),
    ImageKind("HDF5", (".h5", ".hdf5", ".hdf", ".he5", ".ilp"), "volseg.importing.hdf5:open_hdf5",
              _starts(HDF5_START)),
    ImageKind("MRC", (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map", ".preali"), "volseg.importing.mrc:open_mrc",
              lambda start: start[208:212] in (b"MAP ", b"MAP\0")),
    ImageKind("LIF", (".lif",), "volseg.importing.bioio_files:open_bioio"),
    ImageKind("ND2", (".nd2",), "volseg.importing.bioio_files:open_bioio"),
    ImageKind("CZI", (".czi",), "volseg.importing.bioio_files:open_bioio"),
)
LEFT_TO_OTHERS = {
    "Olympus": (".oib", ".oif", ".oir", ".vsi", ".ets"),
    "Leica": (".lof", ".xlef", ".xlif", ".lei", ".scn"),
    "Imaris": (".ims",),
    "Volocity": (".mvd2", ".acff"),
    "Aperio": (".svs", ".afi"),
    "Hamamatsu": (".ndpi", ".ndpis", ".vms"),
    "3DHISTECH": (".mrxs",),
    "Ventana": (".bif",),
    "Zeiss": (".zvi",),
    "DeltaVision": (".dv", ".r3d"),
    "SlideBook": (".sld", ".sldy"),
    "Gatan": (".dm2", ".dm3", ".dm4"),
    "FEI": (".ser", ".emi"),
    "ICS": (".ics", ".ids"),
    "BioRad": (".pic",),
    "PerkinElmer": (".flex", ".mea"),
    "Amira": (".am", ".amiramesh"),
    "Bruker": (".bcf",),
    "cellSens": (".omp2info",),
}
# fmt: on


def image_kinds() -> tuple[ImageKind, ...]:
    """Return the kinds that are read: those of other packages first (entry points ``volseg.importers``)."""
    return (*extensions(GROUP, ImageKind), *_OWN)


def image_kind(path: Path) -> ImageKind | None:
    """Return the kind of a file by its first bytes, else by its name; None where it is none of these."""
    with reading(path, "file"), path.open("rb") as file:
        start = file.read(512)
    kinds = image_kinds()
    by_content = next((one for one in kinds if one.is_one(start)), None)
    name = path.name.lower()
    return by_content or next((one for one in kinds if name.endswith(one.endings)), None)


def maker_of(name: str) -> str | None:
    """Return whose format a name means that volseg leaves to bioformats2raw, if it is one."""
    return next(
        (who for who, endings in LEFT_TO_OTHERS.items() if name.lower().endswith(endings)), None
    )


def left_to_bioformats(path: Path) -> UnsupportedFormatError:
    """Return the error that says how such a file is converted."""
    name, target = shlex.quote(path.name), shlex.quote(f"{path.stem}.zarr")
    return UnsupportedFormatError(
        f"{shown(path)}: {maker_of(path.name)} files are converted by bioformats2raw "
        f"(https://github.com/glencoesoftware/bioformats2raw): bioformats2raw {name} {target}; then import "
        f"{shlex.quote(f'{path.stem}.zarr/0')}"
    )


def missing_extra(path: Path, what: str, missing: str) -> UnsupportedFormatError:
    """Return the error for a library that is not installed."""
    return UnsupportedFormatError(
        f"{shown(path)}: {what} files are read by {missing}, which is not installed: pip install 'volseg[formats]'"
    )
