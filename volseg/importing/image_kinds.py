"""Image files that libraries of the extra `formats` read, a line each; and those that volseg leaves to others."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import reading, shown
from volseg.importing.opened import OpenedImage, SourceOptions

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
    is_one
        Whether the first bytes are of this kind, whatever the name is.
    where
        Module and function that open it, as (path, axes, options) → OpenedImage.
    """

    name: str
    endings: tuple[str, ...]
    where: tuple[str, str]
    is_one: Callable[[bytes], bool] = lambda start: False

    def open(self, path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
        """Open a file of this kind."""
        module, function = self.where
        found: Any = getattr(import_module(f"volseg.importing.{module}"), function)
        image: OpenedImage = found(path, axes, options)
        return image


# fmt: off
IMAGE_KINDS = (
    ImageKind("HDF5", (".h5", ".hdf5", ".hdf", ".he5", ".ilp"), ("hdf5", "open_hdf5"),
              lambda start: start[:8] == HDF5_START),
    ImageKind("MRC", (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map", ".preali"), ("mrc", "open_mrc"),
              lambda start: start[208:212] in (b"MAP ", b"MAP\0")),
    ImageKind("LIF", (".lif",), ("bioio_files", "open_bioio")),
    ImageKind("ND2", (".nd2",), ("bioio_files", "open_bioio")),
    ImageKind("CZI", (".czi",), ("bioio_files", "open_bioio")),
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


def image_kind(path: Path) -> ImageKind | None:
    """Return the kind of a file by its first bytes, else by its name; None where it is none of these."""
    with reading(path, "file"), path.open("rb") as file:
        start = file.read(512)
    by_content = next((one for one in IMAGE_KINDS if one.is_one(start)), None)
    return by_content or next(
        (one for one in IMAGE_KINDS if path.name.lower().endswith(one.endings)), None
    )


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
