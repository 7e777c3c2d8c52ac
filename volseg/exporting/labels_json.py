"""Label images as one JSON file: layers, objects, prompts, masks as run lengths.

Slices are written as they are read, one per line, so memory does not grow with the volume.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import StorageError
from volseg.exporting.selection import Selection
from volseg.measurement.runs import runs_of
from volseg.progress import Progress

_LOG = logging.getLogger(__name__)


def write_json(
    selections: list[Selection], path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write layers with their objects, prompts and masks; `volseg import-labels` reads it back.

    Every mask lies on the whole grid of the level (also where a region was chosen), so that what is
    read back fits the volume.

    Parameters
    ----------
    selections : list of Selection
        One per layer, all of one grid. Time 0 stands for all times; another one for itself.
    """
    first = selections[0]
    shape = first.labels.levels[first.level].grid.shape
    times = times_of(first)
    head = {
        "format": "volseg-labels",
        "version": 1,
        "shape": list(shape),
        "times": first.labels.n_times,
        "voxel_size_um_zyx": list(first.scale),
        "layers": [_layer(selection) for selection in selections],
        "provenance": provenance,
    }
    with path.open("w", encoding="utf-8") as file:
        text = json.dumps(head, ensure_ascii=False)
        file.write(text[:-1] + ', "slices": [')
        written = _write_slices(file, selections, times, shape[1:], progress)
        file.write("\n]}\n")
    _check(path, written)


def _write_slices(
    file: IO[str],
    selections: list[Selection],
    times: range,
    plane: tuple[int, int],
    progress: Progress,
) -> int:
    written = 0
    for layer, selection in enumerate(selections):
        for time in times:
            part = _at(selection, time)
            blocks = list(part.blocks(slabs=True))
            for done, region in enumerate(blocks, 1):
                for z, ids in enumerate(part.read(region), region[0][0] + part.origin[0]):
                    names, counts = encode_slice(ids, plane, (part.origin[1], part.origin[2]))
                    if names:
                        item = {"layer": layer, "t": time, "z": z, "ids": names, "counts": counts}
                        file.write(",\n" if written else "\n")
                        file.write(json.dumps(item, separators=(",", ":")))
                        written += 1
                progress("export", done, len(blocks))
    return written


def encode_slice(
    ids: NDArray[np.generic], plane: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> tuple[list[int], list[list[int]]]:
    """Run lengths of every object of a slice.

    Parameters
    ----------
    ids : ndarray (y, x)
    plane : (y, x)
        Size of the slice that the run lengths cover.
    origin : (y, x)
        Where `ids` lies in it.

    Returns
    -------
    ids : list of int
        Sorted.
    counts : list of list of int
        Per object, in row order, starting with background; they sum to the size of the plane.
    """
    runs = runs_of(ids[np.newaxis])
    if not len(runs.ids):
        return [], []
    total = plane[0] * plane[1]
    starts = (runs.y + origin[0]) * plane[1] + runs.x + origin[1]
    order = np.lexsort((starts, runs.ids))
    owner, starts = runs.ids[order], starts[order]
    ends = starts + runs.length[order]
    # Runs that touch across the end of a row are one.
    apart = (owner[1:] != owner[:-1]) | (starts[1:] != ends[:-1])
    first = np.flatnonzero(np.concatenate(([True], apart)))
    final = np.append(first[1:] - 1, len(starts) - 1)
    owner, starts, ends = owner[first], starts[first], ends[final]
    names, counts = [], []
    new = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    for a, b in zip(new, np.append(new[1:], len(owner)), strict=True):
        borders = np.empty(2 * (b - a) + 2, np.int64)
        borders[0], borders[-1] = 0, total
        borders[1:-1:2], borders[2:-1:2] = starts[a:b], ends[a:b]
        lengths = np.diff(borders).tolist()
        names.append(int(owner[a]))
        counts.append(lengths if lengths[-1] else lengths[:-1])
    return names, counts


def _layer(selection: Selection) -> dict[str, Any]:
    labels = selection.labels
    rows = sorted(labels.objects.rows(), key=lambda row: (row.time, row.id))
    kept = [r for r in rows if selection.ids is None or r.id in selection.ids]
    objects = []
    for row in kept:
        known = row.to_json()
        known["t"] = known.pop("time", 0)
        objects.append(known)
    return {
        "name": labels.name,
        "channel": labels.channel,
        "category": labels.metadata.category,
        "level": selection.level,
        "selection": selection.describe(),
        "objects": objects,
        "prompts": _prompts(selection),
    }


def _prompts(selection: Selection) -> list[Any]:
    """The prompts stored with the labels, each a prompts document."""
    store = selection.labels.store
    found = []
    names = store.list_names_or_none("volseg/prompts")
    if names is None:
        _LOG.warning("%s can't list its prompts; they are left out", store.location)
    for name in names or ():
        data = store.get_or_none(f"volseg/prompts/{name}")
        if data is not None and name.endswith(".json"):
            found.append(json.loads(data))
    return found


def times_of(selection: Selection) -> range:
    """Return all times for time 0, else the one."""
    one = selection.time
    return range(one, one + 1) if one else range(selection.labels.n_times)


def _at(selection: Selection, time: int) -> Selection:
    from dataclasses import replace

    return replace(selection, time=time)


def _check(path: Path, written: int) -> None:
    """Read the end back."""
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.startswith(b'{"layer":'))
    if lines != written:
        raise StorageError(f"{path}: {lines} slices were written of {written}; try again")
