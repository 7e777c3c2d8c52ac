"""The kinds of files that hold labels but are no images: a line each. A file is told by its content first."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from volseg.extensions import extensions
from volseg.importing.guard import reading
from volseg.importing.image_kinds import GROUP

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.importing.label_layer import LabelLayer

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of DICOM: Segmentation Storage and Label Map Segmentation Storage."""
_HEAD = 2**16


@dataclass(frozen=True)
class LabelKind:
    """One kind of file.

    Attributes
    ----------
    name
        For people.
    endings
        Of names that such files may have.
    is_one
        Whether a file of such a name, by its path and first bytes, is one.
    where
        Module and function that open it, as (path, volume) → list of LabelLayer: ``"module:function"``.
    """

    name: str
    endings: tuple[str, ...]
    is_one: Callable[[Path, bytes], bool]
    where: str

    def open(self, path: Path, volume: Volume) -> list[LabelLayer]:
        """Open a file of this kind."""
        found: Any = resolve_name(self.where)
        layers: list[LabelLayer] = found(path, volume)
        return layers


def label_kinds() -> tuple[LabelKind, ...]:
    """Return the kinds that are read: those of other packages first (entry points ``volseg.importers``)."""
    return (*extensions(GROUP, LabelKind), *_OWN)


def label_kind(path: Path) -> LabelKind | None:
    """Return the kind of a file; None where it is an image, or nothing that volseg knows."""
    with reading(path, "file"), path.open("rb") as file:
        start = file.read(_HEAD)
        name = path.name.lower()
        return next(
            (
                one
                for one in label_kinds()
                if name.endswith(one.endings) and one.is_one(path, start)
            ),
            None,
        )


def may_hold_labels(name: str) -> bool:
    """Return whether a file of this name may be of one of the kinds."""
    return name.lower().endswith(tuple(end for one in label_kinds() for end in one.endings))


def _is_rois(path: Path, start: bytes) -> bool:
    if not zipfile.is_zipfile(path):
        return start[:4] == b"Iout"
    with zipfile.ZipFile(path) as archive:
        return any(name.lower().endswith(".roi") for name in archive.namelist())


def _is_features(path: Path, start: bytes) -> bool:
    return path.suffix.lower() == ".geojson" or (
        b'"Feature' in start and b'"volseg-labels"' not in start
    )


def _is_json(path: Path, start: bytes) -> bool:
    return True


def _is_cellpose(path: Path, start: bytes) -> bool:
    return start[:6] == b"\x93NUMPY" and b"'|O'" in start[:128]


def _is_segmentation(path: Path, start: bytes) -> bool:
    import pydicom

    if start[128:132] != b"DICM":
        return False
    head = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    return str(head.get("SOPClassUID", "")) in _SEGMENTATIONS


_OWN = (
    LabelKind("ImageJ ROIs", (".roi", ".zip"), _is_rois, "volseg.importing.imagej_rois:open_rois"),
    LabelKind(
        "GeoJSON", (".geojson", ".json"), _is_features, "volseg.importing.geojson:open_geojson"
    ),
    LabelKind("volseg JSON", (".json",), _is_json, "volseg.importing.labels_json:open_json"),
    LabelKind("Cellpose masks", (".npy",), _is_cellpose, "volseg.importing.cellpose:open_cellpose"),
    LabelKind(
        "DICOM SEG",
        (".dcm", ".dicom"),
        _is_segmentation,
        "volseg.importing.dicom_seg:open_segmentation",
    ),
)
