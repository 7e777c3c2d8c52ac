"""Importing: images and labels of other formats into OME-Zarr, streaming, all of it or nothing."""

from __future__ import annotations

from volseg.importing.label_files import import_label_layers, import_labels
from volseg.importing.opened import SourceOptions
from volseg.importing.opening import open_image
from volseg.importing.volumes import import_volume

__all__ = ["SourceOptions", "import_label_layers", "import_labels", "import_volume", "open_image"]
