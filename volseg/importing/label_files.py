"""Existing labels into a label image: a TIFF (or any image file with whole numbers), or volseg
JSON.

The file is read twice: once to find out whether it is sound and fits, then to write.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import ChangedError, InputError, VolsegError
from volseg.importing.guard import existing, shown
from volseg.importing.labels_json import LabelsFile
from volseg.importing.opened import OpenedImage, Region
from volseg.importing.opening import open_image
from volseg.importing.spool import Spool, fetch
from volseg.importing.volumes import slabs
from volseg.progress import Progress, silent
from volseg.store.urls import parse_url
from volseg.volume.metadata import group_key, to_json

if TYPE_CHECKING:
    from volseg.volume.image import Volume
    from volseg.volume.labels import Labels
    from volseg.volume.objects import ObjectRow

MAX_ID = 2**32 - 1
_KEPT = (
    ("class_", "class", str),
    ("parent", "parent", int),
    ("confidence", "confidence", int | float),
    ("annotator", "annotator", str),
    ("modified", "modified", str),
)
Piece = tuple[int, Region, NDArray[Any]]


class _Source(Protocol):
    shape: tuple[int, int, int]
    n_times: int

    def pieces(self, regions: list[Region]) -> Iterator[Piece]:
        """Yield (time, region, ids) for each time and region in which there may be something."""
        ...


def import_labels(
    file: str | os.PathLike[str],
    volume: Volume,
    name: str,
    *,
    layer: str | None = None,
    axes: str | None = None,
    time: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Labels:
    """Make a label image out of labels that exist already.

    Parameters
    ----------
    file : path or URL
        An image file with whole numbers (see `volseg.importing.opening.open_image`) or a JSON file
        written by `volseg export --format json`.
    volume : Volume
        The image that the labels belong to; they must have the shape of one of its levels.
    name : str
        Of the label image.
    layer : str, optional
        Which layer of a JSON file that has several.
    axes : str, optional
        Of an image file, where it does not tell.
    time : int, optional
        Time point that labels of a single one belong to (default 0).
    overwrite : bool
        Replace a label image of this name.
    progress : Progress, optional

    Returns
    -------
    Labels
        With pyramid and object table; ids as in the file.

    Raises
    ------
    InputError
        If the file is damaged, holds no whole numbers or ids beyond 2³²−1, or does not fit the
        volume. Nothing is left behind.
    """
    told, text = progress or silent, os.fspath(file)
    if not text.lower().endswith(".json"):
        with open_image(text, axes) as image:
            return _write(_ImageSource(image), volume, name, {}, time, overwrite, told)
    with _local(text) as path:
        with LabelsFile(existing(path)) as opened:
            facts = opened.layer(layer)
        source = _JsonSource(path, opened.shape, opened.n_times, facts["index"])
        return _write(source, volume, name, facts, time, overwrite, told)


def _write(
    source: _Source,
    volume: Volume,
    name: str,
    facts: dict[str, Any],
    time: int | None,
    overwrite: bool,
    progress: Progress,
) -> Labels:
    from volseg.volume.labels import create_labels
    from volseg.volume.objects import scan_objects
    from volseg.volume.pyramid import build_pyramid

    level = _level(source, volume)
    first = _first_time(source, volume, time)
    regions = slabs(volume.levels[level].grid, 4)
    for done, (_, _, ids) in enumerate(source.pieces(regions), 1):
        _check_ids(ids)
        progress("check", done, max(done, len(regions) * source.n_times))
    labels = create_labels(
        volume,
        name,
        "uint32",
        level=level,
        channel=_channel(facts.get("channel"), volume),
        category=facts.get("category"),
        overwrite=overwrite,
    )
    with _forgotten_on_failure(volume, name):
        regions = slabs(labels.grid, 4)
        for done, (at, region, ids) in enumerate(source.pieces(regions), 1):
            labels.write_objects(region, ids.astype(np.uint32), time=first + at, fresh=True)
            progress("import", done, max(done, len(regions) * source.n_times))
        for at in range(source.n_times):
            build_pyramid(labels, time=first + at, progress=progress)
        rows = scan_objects(labels, progress=progress)
        labels.objects.replace(_with_facts(rows, facts.get("objects", [])))
        labels.objects.publish()
    return labels


def _with_facts(rows: list[ObjectRow], told: list[Any]) -> list[ObjectRow]:
    """What a file says of its objects, put into the rows that the voxels gave."""
    known = {(one.get("id"), one.get("t", 0)): one for one in told if isinstance(one, dict)}
    result = []
    for row in rows:
        one = known.get((row.id, row.time), {})
        kept: dict[str, Any] = {
            field: value
            for field, key, kind in _KEPT
            if isinstance(value := one.get(key), kind) and not isinstance(value, bool)
        }
        result.append(replace(row, **kept))
    return result


def _level(source: _Source, volume: Volume) -> int:
    for level in volume.levels:
        if level.grid.shape == source.shape:
            return level.index
    shapes = ", ".join(str(level.grid.shape) for level in volume.levels)
    raise InputError(
        f"the labels have shape {source.shape} (z, y, x), the levels of {volume.location} have "
        f"{shapes}; labels must lie on one of these grids"
    )


def _first_time(source: _Source, volume: Volume, time: int | None) -> int:
    if time is None:
        if source.n_times not in (1, volume.n_times):
            raise InputError(
                f"the labels have {source.n_times} times, {volume.location} has {volume.n_times}"
            )
        return 0
    if source.n_times != 1 or not 0 <= time < volume.n_times:
        raise InputError(
            f"time {time}: {volume.location} has times 0 to {volume.n_times - 1}, and the file "
            f"must have one (it has {source.n_times})"
        )
    return time


def _channel(value: object, volume: Volume) -> int | list[int] | None:
    """The channel of a JSON layer as far as the volume has it."""
    several = [value] if isinstance(value, int) else value
    if not isinstance(several, list) or not several:
        return None
    if not all(isinstance(c, int) and 0 <= c < volume.n_channels for c in several):
        return None
    return value  # type: ignore[return-value]


def _check_ids(ids: NDArray[Any]) -> None:
    if ids.size and ids.dtype.kind == "i" and int(ids.min()) < 0:
        raise InputError(f"the labels hold the negative id {int(ids.min())}; ids start at 1")
    if ids.size and int(ids.max()) > MAX_ID:
        raise InputError(f"the labels hold id {int(ids.max())}; ids go up to {MAX_ID}")


class _ImageSource:
    """Labels in an image file."""

    def __init__(self, image: OpenedImage) -> None:
        self._image = image.as_labels()
        self.shape = image.shape_zyx
        self.n_times = image.n_times

    def pieces(self, regions: list[Region]) -> Iterator[Piece]:
        """Read every region of every time."""
        for time in range(self.n_times):
            for region in regions:
                yield time, region, self._image.read(region, time=time)


class _JsonSource:
    """Labels in a volseg-labels file, drawn slice by slice into one slab at a time."""

    def __init__(self, path: Path, shape: tuple[int, int, int], n_times: int, layer: int) -> None:
        self._path, self._layer = path, layer
        self.shape, self.n_times = shape, n_times

    def pieces(self, regions: list[Region]) -> Iterator[Piece]:
        """Draw the slabs of slices in which there is something."""
        depth = {z: (z0, z1) for (z0, z1), _, _ in regions for z in range(z0, z1)}
        slab: tuple[int, tuple[int, int]] | None = None
        buffer = np.zeros(0, np.uint32)
        last = (-1, -1)
        with LabelsFile(self._path) as opened:
            for one in opened.slices():
                if one.layer != self._layer:
                    continue
                if (one.time, one.z) <= last or one.time >= self.n_times:
                    raise InputError(
                        f"{shown(self._path)}: slices of a layer must come ordered by t, then z, "
                        f"each once; t {one.time}, z {one.z} is out of place"
                    )
                last = (one.time, one.z)
                if slab != (one.time, depth[one.z]):
                    yield from self._cut(slab, buffer, regions)
                    slab = (one.time, depth[one.z])
                    z0, z1 = depth[one.z]
                    buffer = np.zeros((z1 - z0, *self.shape[1:]), np.uint32)
                _check_ids(one.ids)
                buffer[one.z - slab[1][0]] = one.ids
        yield from self._cut(slab, buffer, regions)

    @staticmethod
    def _cut(
        slab: tuple[int, tuple[int, int]] | None, buffer: NDArray[Any], regions: list[Region]
    ) -> Iterator[Piece]:
        if slab is None:
            return
        for region in regions:
            if region[0] == slab[1]:
                _, (y0, y1), (x0, x1) = region
                yield slab[0], region, buffer[:, y0:y1, x0:x1]


@contextlib.contextmanager
def _local(text: str) -> Iterator[Path]:
    """The path of a file; one on a store is fetched first."""
    location = parse_url(text) if "://" in text else None
    path = location.local_path if location is not None else Path(os.path.expanduser(text))
    if path is not None:
        yield path
        return
    assert location is not None
    spool = Spool()
    try:
        yield fetch(location, spool)
    finally:
        spool.close()


@contextlib.contextmanager
def _forgotten_on_failure(volume: Volume, name: str) -> Iterator[None]:
    """Delete a label image that was begun here, if what happens inside fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(VolsegError):
            _forget(volume, name)
        raise


def _forget(volume: Volume, name: str) -> None:
    """Take a label image off the list of its group, then delete it."""
    store, key = volume.output_store, f"labels/{group_key(volume.ngff_version)}"
    while (found := store.get_with_etag(key)) is not None:
        document = json.loads(found[0])
        part = document if volume.ngff_version == "0.4" else document["attributes"]["ome"]
        part["labels"] = [other for other in part.get("labels", []) if other != name]
        try:
            store.put_if(key, to_json(document), found[1])
        except ChangedError:
            continue
        break
    store.delete_all(f"labels/{name}")
