"""The formats that labels are exported to: a line each, and the module that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from volseg.errors import InputError
from volseg.extensions import extensions

GROUP = "volseg.exporters"


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes
    ----------
    name
        As given to `--format`.
    title
        For people.
    suffix
        Of its file; empty where it is a folder of files.
    where
        Module and function that write it, loaded when used: ``"module:function"``.
    endings
        Of targets that mean this format where none is named; longer endings go before shorter ones.
    also
        Endings of other formats that a target of this one may have as well.
    layers
        Whether the function takes a list of selections (several label images in one file).
    one_file
        Function of the same module that says whether a folder format makes a single file out of what is asked for.
    beside
        Function of the same module that names the folder that the format makes beside its file.
    """

    name: str
    title: str
    suffix: str
    where: str
    endings: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    layers: bool = False
    one_file: str | None = None
    beside: str | None = None

    @property
    def folder(self) -> bool:
        """Whether the export is a folder."""
        return not self.suffix

    def writer(self) -> Callable[..., Any]:
        """Return the function that writes it."""
        return self._function(self.where.partition(":")[2])

    def makes_one_file(self, target: str, selection: Any, options: dict[str, Any]) -> bool:
        """Return whether this export is one file, named as the target is."""
        if self.one_file is None or not target.lower().endswith(self.endings):
            return not self.folder
        return bool(self._function(self.one_file)(selection, **options))

    def folder_beside(self, target: str) -> str | None:
        """Return the name of the folder beside the file, if the format makes one."""
        name = target.rstrip("/").rpartition("/")[2]
        return None if self.beside is None else str(self._function(self.beside)(name))

    def _function(self, name: str) -> Callable[..., Any]:
        module = self.where.partition(":")[0]
        found: Callable[..., Any] = resolve_name(f"{module}:{name}")
        return found


# fmt: off
_OWN = (
    Format("tiff", "TIFF stack (Fiji)", ".tif", "volseg.exporting.tiff:write_stack",
           (".tif", ".tiff", ".btf"), layers=True),
    Format("tiff-slices", "TIFF, one file per slice", "", "volseg.exporting.tiff:write_slices"),
    Format("tiff-objects", "TIFF, one file per object", "", "volseg.exporting.tiff:write_objects"),
    Format("tiff-overlay", "TIFF, RGB: the image with the objects over it", "-overlay.tif",
           "volseg.exporting.tiff_overlay:write_overlay", also=(".tif", ".tiff")),
    Format("png", "PNG pictures", "", "volseg.exporting.pictures:write_pictures", (".png",), one_file="is_one_picture"),
    Format("csv", "CSV table of objects", ".csv", "volseg.exporting.table:write_csv", (".csv",), layers=True),
    Format("xlsx", "Excel table of objects", ".xlsx", "volseg.exporting.workbook:write_xlsx", (".xlsx",), layers=True),
    Format("parquet", "Parquet table of objects", ".parquet", "volseg.exporting.table:write_parquet",
           (".parquet",), layers=True),
    Format("json", "JSON (run lengths, prompts, provenance)", ".json", "volseg.exporting.labels_json:write_json",
           (".json",), layers=True),
    Format("imagej-rois", "ImageJ ROI set", ".zip", "volseg.exporting.imagej_rois:write_rois", (".zip",), layers=True),
    Format("geojson", "GeoJSON (QuPath)", ".geojson", "volseg.exporting.geojson:write_geojson",
           (".geojson",), also=(".json",), layers=True),
    Format("coco", "COCO JSON with its images", ".coco.json", "volseg.exporting.coco:write_coco",
           (".coco.json",), also=(".json",), layers=True, beside="images_folder"),
    Format("dicom-seg", "DICOM SEG", ".dcm", "volseg.exporting.dicom_seg:write_segmentation", (".dcm",)),
    Format("nifti", "NIfTI", ".nii.gz", "volseg.exporting.medical:write_nifti", (".nii", ".nii.gz")),
    Format("nrrd", "NRRD (3D Slicer)", ".nrrd", "volseg.exporting.medical:write_nrrd", (".nrrd",)),
    Format("ply", "PLY meshes", "", "volseg.exporting.meshes:write_ply"),
    Format("obj", "OBJ meshes", "", "volseg.exporting.meshes:write_obj"),
    Format("ome-zarr", "OME-Zarr copy", "", "volseg.exporting.ome_zarr:write_ome_zarr", (".zarr",), layers=True),
)
# fmt: on


def formats() -> tuple[Format, ...]:
    """Return the formats that are written: ours, then those of other packages (entry points ``volseg.exporters``)."""
    return (*_OWN, *extensions(GROUP, Format))


def find_format(name: str | None, out: str) -> Format:
    """Return the format of a name, else of the target's ending.

    Raises
    ------
    InputError
        If the name or, without one, the ending is unknown; or if the target's ending is that of another format.
    """
    by_ending = _by_ending(out)
    if name is None:
        if by_ending is None:
            known = ", ".join(f"{end} ({one.name})" for one in formats() for end in one.endings)
            others = ", ".join(one.name for one in formats() if not one.endings)
            raise InputError(
                f"{out}: no format is known by this ending; give --format, or a name that ends in one of {known}; "
                f"by --format only: {others}"
            )
        return by_ending
    found = next((one for one in formats() if one.name == name), None)
    if found is None:
        raise InputError(
            f"format {name!r}: expected one of {', '.join(one.name for one in formats())}"
        )
    if by_ending not in (None, found) and not _plain(out).endswith(found.also or ("\0",)):
        assert by_ending is not None
        raise InputError(
            f"{out}: a name of format {by_ending.name}, but --format says {found.name}; leave one of them away, "
            f"or choose a name{f' that ends in {found.suffix}' if found.suffix else ' of a folder'}"
        )
    return found


def _by_ending(out: str) -> Format | None:
    plain = _plain(out)
    endings = {end: one for one in formats() for end in one.endings}
    fitting = [end for end in endings if plain.endswith(end)]
    return endings[max(fitting, key=len)] if fitting else None


def _plain(out: str) -> str:
    return out.lower().rstrip("/")
