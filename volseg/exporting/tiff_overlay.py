"""The image with coloured objects over it as an RGB OME-TIFF, slice by slice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import StorageError
from volseg.exporting.painter import Painter
from volseg.exporting.selection import Selection
from volseg.geometry import plane_region
from volseg.progress import Progress

_BIG = 2**32 - 2**25


def write_overlay(
    selection: Selection,
    path: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    opacity: float = 0.4,
    channel: int | None = None,
) -> None:
    """Write all slices into one stack of RGB bytes, packed by zlib.

    Parameters
    ----------
    opacity : float
        Of the objects, 0 to 1.
    channel : int, optional
        Of the image; default: the labels' own, all three of a colour image.
    """
    import tifffile

    painter = Painter(selection, "overlay", opacity, channel)
    z, y, x = selection.scale
    shape = (*selection.shape, 3)
    sizes = {"X": x, "Y": y, "Z": z}
    metadata = {"axes": "ZYXS", "Name": selection.labels.name}
    metadata |= {"Description": json.dumps(provenance, ensure_ascii=True)}
    metadata |= {f"PhysicalSize{a}": str(size) for a, size in sizes.items()}
    metadata |= {f"PhysicalSize{a}Unit": "µm" for a in sizes}
    tifffile.imwrite(
        path,
        data=_pages(selection, painter, progress),
        shape=shape,
        dtype=np.uint8,
        bigtiff=int(np.prod(shape, dtype=np.int64)) > _BIG,
        ome=True,
        photometric="rgb",
        compression="zlib",
        metadata=metadata,
        software="volseg",
        resolution=(1e4 / x, 1e4 / y),
        resolutionunit="CENTIMETER",
    )
    _check(selection, painter, path)


def _pages(
    selection: Selection, painter: Painter, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        image = painter.image(region)
        assert image is not None  # overlays have one
        for ids, plane in zip(selection.read(region), image, strict=True):
            yield painter.paint(ids, plane)
        progress("export", done, len(blocks))


def _check(selection: Selection, painter: Painter, path: Path) -> None:
    """Reopen the stack and compare the middle slice."""
    import tifffile

    z = selection.shape[0] // 2
    region = plane_region(z, selection.shape)
    image = painter.image(region)
    assert image is not None
    with tifffile.TiffFile(path) as file:
        found = file.pages[z].asarray()
    if not np.array_equal(found, painter.paint(selection.read(region)[0], image[0])):
        raise StorageError(
            f"{path}: slice {z} reads back differently than it was written; try again"
        )
