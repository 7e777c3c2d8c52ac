"""The formats that labels are exported to: what each writes, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from volseg.errors import InputError


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes
    ----------
    name
        As given to `--format`.
    suffix
        Of its file; empty where it is a folder of files.
    where
        Module and function that write it, loaded when used.
    layers
        Whether the function takes a list of selections (several label images in one file).
    """

    name: str
    suffix: str
    where: tuple[str, str]
    layers: bool = False

    @property
    def folder(self) -> bool:
        """Whether the export is a folder."""
        return not self.suffix

    def writer(self) -> Callable[..., Any]:
        """The function that writes it."""
        module, function = self.where
        found: Callable[..., Any] = getattr(import_module(f"volseg.exporting.{module}"), function)
        return found


FORMATS = (
    Format("tiff", ".tif", ("tiff", "write_stack")),
    Format("tiff-slices", "", ("tiff", "write_slices")),
    Format("tiff-objects", "", ("tiff", "write_objects")),
    Format("png", "", ("pictures", "write_pictures")),
    Format("csv", ".csv", ("table", "write_csv")),
    Format("parquet", ".parquet", ("table", "write_parquet")),
    Format("json", ".json", ("labels_json", "write_json"), layers=True),
    Format("coco", ".coco.json", ("labels_json", "write_coco"), layers=True),
    Format("nifti", ".nii.gz", ("medical", "write_nifti")),
    Format("nrrd", ".nrrd", ("medical", "write_nrrd")),
    Format("ply", "", ("meshes", "write_ply")),
    Format("obj", "", ("meshes", "write_obj")),
    Format("ome-zarr", "", ("ome_zarr", "write_ome_zarr")),
)
_ENDINGS = {
    ".ome.tif": "tiff",
    ".ome.tiff": "tiff",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".csv": "csv",
    ".parquet": "parquet",
    ".coco.json": "coco",
    ".json": "json",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".zarr": "ome-zarr",
    ".png": "png",
}


def find_format(name: str | None, out: str) -> Format:
    """The format of a name, else of the target's ending.

    Raises
    ------
    InputError
        If it is unknown.
    """
    if name is None:
        lower = out.lower().rstrip("/")
        name = next((kind for end, kind in _ENDINGS.items() if lower.endswith(end)), None)
    for one in FORMATS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in FORMATS)
    raise InputError(f"format {name!r}: expected one of {known}")
