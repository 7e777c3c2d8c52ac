"""Writing labels as they were into an OME-Zarr of their own, block by block, with a pyramid by mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from volseg.geometry import Region, refined
from volseg.images.levels import whole_factors
from volseg.images.metadata import group_key, to_json
from volseg.images.pyramid import coarser
from volseg.progress import Progress
from volseg.storage.objects import Store
from volseg.storage.urls import Location

if TYPE_CHECKING:
    from volseg.editing.past import LabelsAt
    from volseg.images.image import Volume

_BLOCK = (4, 4, 4)  # chunks: tens of MB


def write_copy_of(source: LabelsAt, url: str | Path | Location, progress: Progress) -> Volume:
    """Write a label image as it was; see `LabelsAt.write`."""
    from volseg.images.create import write_empty_volume
    from volseg.images.image import open_volume
    from volseg.images.targets.places import writable_place
    from volseg.images.targets.replacement import volume_replacement

    labels = source.labels
    axes = [kind for kind in labels.levels[0].kinds if kind in "tzyx"]
    sizes = dict(zip("zyx", labels.shape, strict=True), t=labels.n_times)
    with volume_replacement(url, sources=[labels.location]) as place:
        out = write_empty_volume(
            place,
            axes=axes,
            shape=[sizes[kind] for kind in axes],
            dtype=labels.dtype,
            scale_um=labels.scale,
            ngff=labels.ngff_version,
            chunks=labels.grid.chunk,
            levels=len(labels.levels),
            name=labels.name,
        )
        for time in range(labels.n_times):
            _write_time(source, out, time, progress)
        _mark_as_labels(out.store, labels.ngff_version)
    return open_volume(writable_place(url))


def _write_time(source: LabelsAt, out: Volume, time: int, progress: Progress) -> None:
    blocks = list(out.levels[0].grid.blocks(_BLOCK))
    total = source.labels.n_times * len(blocks)
    for done, region in enumerate(blocks, start=1):
        out.write(region, source.read(region, time=time), time=time)
        progress("history", time * len(blocks) + done, total)
    for level in range(1, len(out.levels)):
        for region in out.levels[level].grid.blocks(_BLOCK):
            _write_coarser(out, source.labels.metadata.keep_thin, level, region, time)


def _write_coarser(out: Volume, keep_thin: bool, level: int, region: Region, time: int) -> None:
    totals = whole_factors(
        [item.grid.shape for item in out.levels], [item.scale for item in out.levels]
    )
    if totals is None:
        raise RuntimeError(f"{out.location}: a new pyramid without whole factors")
    z, y, x = (b // a for a, b in zip(totals[level - 1], totals[level], strict=True))
    finer = refined(region, (z, y, x), out.levels[level - 1].grid.shape)
    block = out.read(finer, level=level - 1, time=time)
    made = coarser(block, (z, y, x), keep_thin=keep_thin)
    out.write(region, made, level=level, time=time)


def _mark_as_labels(store: Store, version: str) -> None:
    """Tell readers that the voxels are ids, not brightness."""
    key = group_key(version)
    document = json.loads(store.get(key))
    part = document if version == "0.4" else document["attributes"]["ome"]
    part["image-label"] = {
        "version": version,
        "colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}],
    }
    part.pop("omero", None)
    store.put(key, to_json(document))
