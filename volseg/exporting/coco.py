"""COCO's format: one image per slice, one annotation per object and slice, and the images that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import StorageError
from volseg.exporting.labels_json import encode_slice
from volseg.exporting.output import MANIFEST
from volseg.exporting.pictures import write_images
from volseg.exporting.selection import Selection
from volseg.progress import Progress


def write_coco(
    selections: list[Selection], path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write annotations of all layers, and beside them a folder with one PNG per slice of the image.

    Masks are uncompressed run lengths in column order, which pycocotools takes; `iscrowd` is 0, so that each
    annotation counts as one object. `object_id` keeps the identity of an object through the slices, `layer` says which
    label image it is of. A category is a class, or the layer's name for objects without one.
    """
    first = selections[0]
    _, height, width = first.shape
    kinds = {kind: n for n, kind in enumerate(_kinds(selections), 1)}
    pictures = path.parent / images_folder(path.name)
    pictures.mkdir()
    names = write_images(first, pictures, progress)
    (pictures / MANIFEST).write_text(json.dumps({"format": "volseg-export", "of": path.name}))
    head = {
        "info": {"description": first.labels.name, "provenance": provenance},
        "images": [
            {"id": z, "file_name": f"{pictures.name}/{name}", "width": width, "height": height}
            for z, name in names.items()
        ],
    }
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [')
        for selection in selections:
            for annotation in _annotations(selection, kinds, progress):
                written += 1
                one = json.dumps({"id": written} | annotation)
                file.write((",\n" if written > 1 else "\n") + one)
        categories = [{"id": n, "name": kind} for kind, n in kinds.items()]
        file.write(f'\n], "categories": {json.dumps(categories, ensure_ascii=False)}}}\n')
    _check(path, written)


def images_folder(name: str) -> str:
    """Return the name of the folder of images beside a COCO file."""
    return name.removesuffix(".json").removesuffix(".coco") + "-images"


def _kinds(selections: list[Selection]) -> list[str]:
    found = {
        row.class_ or selection.labels.name
        for selection in selections
        for row in selection.rows.values()
    }
    return sorted(found | {one.labels.name for one in selections if not one.rows})


def _annotations(
    selection: Selection, kinds: dict[str, int], progress: Progress
) -> Iterator[dict[str, Any]]:
    _, height, width = selection.shape
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        for z, ids in enumerate(selection.read(region), region[0][0] + selection.origin[0]):
            names, counts = encode_slice(np.ascontiguousarray(ids.T), (width, height))
            for one, runs in zip(names, counts, strict=True):
                row = selection.rows.get(one)
                kind = (row.class_ if row else None) or selection.labels.name
                area, box = _area_and_box(runs, height)
                yield {
                    "image_id": z,
                    "category_id": kinds.setdefault(kind, len(kinds) + 1),
                    "object_id": one,
                    "layer": selection.labels.name,
                    "segmentation": {"size": [height, width], "counts": runs},
                    "area": area,
                    "bbox": box,
                    "iscrowd": 0,
                }
        progress("export", done, len(blocks))


def _area_and_box(runs: list[int], height: int) -> tuple[int, list[int]]:
    """Pixels, and [x, y, width, height], of run lengths in column order that begin with background."""
    lengths = np.array(runs[1::2], np.int64)
    starts = np.cumsum(np.array(runs, np.int64))[1::2] - lengths
    x0, y0 = np.divmod(starts, height)
    x1, y1 = np.divmod(starts + lengths - 1, height)
    over = x1 > x0  # a run over several columns touches top and bottom
    top = 0 if over.any() else int(y0.min())
    bottom = height - 1 if over.any() else int(y1.max())
    left, right = int(x0.min()), int(x1.max())
    return int(lengths.sum()), [left, top, right - left + 1, bottom - top + 1]


def _check(path: Path, written: int) -> None:
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.startswith(b'{"id":'))
    if lines != written:
        raise StorageError(f"{path}: {lines} annotations were written of {written}; try again")
