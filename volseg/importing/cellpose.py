"""Cellpose's `_seg.npy`: the masks in it. The file is a pickle, of which only arrays and plain values are taken."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import reading, shown
from volseg.importing.label_layer import LabelLayer
from volseg.importing.opened import OpenedImage

if TYPE_CHECKING:
    from volseg.images.image import Volume

_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"{core}.{module}", name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}
"""What builds arrays and numbers of NumPy, and can do nothing else."""


class _OnlyArrays(pickle.Unpickler):
    """Unpickles arrays, numbers, texts, lists and dictionaries, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib") and name.endswith("Path"):
            return _joined
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise UnsupportedFormatError(
            f"it asks for {module}.{name}, which is no array or plain value, and nothing in a file is executed; in "
            "Cellpose, save the masks as TIFF or PNG and import those"
        )


def _joined(*parts: str) -> str:
    """A path as text: that of another system can't be made here."""
    return "/".join(map(str, parts))


def open_cellpose(path: Path, volume: Volume) -> list[LabelLayer]:
    """Read the masks of a `_seg.npy` as a label layer.

    Raises
    ------
    UnsupportedFormatError
        If the file is damaged, asks for anything but arrays and plain values, or has no masks.
    """
    with reading(path, "Cellpose file"):
        masks = _masks(path)
    with OpenedImage(path, "Cellpose file", masks, "zyx"[-masks.ndim :]) as image:
        image.as_labels()
        return [
            LabelLayer(
                None, image.shape_zyx, 1, lambda regions: ((0, r, image.read(r)) for r in regions)
            )
        ]


def _masks(path: Path) -> np.ndarray[Any, Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        if not dtype.hasobject or shape != ():
            raise UnsupportedFormatError(
                f"{shown(path)}: no dictionary in it, as Cellpose writes it"
            )
        try:
            content = _OnlyArrays(file).load()
        except UnsupportedFormatError as error:
            raise UnsupportedFormatError(f"{shown(path)}: {error}") from None
    while isinstance(content, np.ndarray) and content.dtype.hasobject and content.size == 1:
        content = content.reshape(-1)[0]
    masks = content.get("masks") if isinstance(content, dict) else None
    if (
        not isinstance(masks, np.ndarray)
        or masks.ndim not in (2, 3)
        or masks.dtype.kind not in "iu"
    ):
        raise UnsupportedFormatError(
            f"{shown(path)}: no masks of 2 or 3 axes in it; run Cellpose first, or import its masks as TIFF"
        )
    return masks
