"""The volseg-labels JSON file, read back: layers, objects, prompts, and masks as run lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.geometry import Region
from volseg.importing.guard import reading, shown, whole_number
from volseg.importing.json_stream import JsonStream
from volseg.importing.label_layer import LabelLayer, Piece, check_ids

if TYPE_CHECKING:
    from volseg.images.image import Volume

MAX_ID = 2**64 - 1
_NEEDED = {"format", "version", "shape", "layers", "times"}


@dataclass(frozen=True)
class LabelSlice:
    """One slice of a layer: ids (y, x) as far as they are not background."""

    layer: int
    time: int
    z: int
    ids: NDArray[np.uint64]


class LabelsFile:
    """A volseg-labels file, open for reading; use it as a context manager.

    Attributes
    ----------
    head
        Everything before the slices: shape, layers, objects, prompts, provenance.
    shape
        (z, y, x) in voxels.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "JSON file"):
            self._stream = JsonStream(path, "slices")
        try:
            with reading(path, "JSON file"):
                self.head = self._read_head()
                self.shape, self.layers = self._check_head()
        except BaseException:
            self._stream.close()
            raise

    def _read_head(self) -> dict[str, Any]:
        """The members beside the slices, also where they were put behind them."""
        head = self._stream.read_head()
        if set(head) >= _NEEDED:
            return head
        for _ in self._stream.items():
            pass
        whole = self._stream.members
        self._stream.close()
        self._stream = JsonStream(self.path, "slices")
        self._stream.read_head()
        return whole

    def __enter__(self) -> LabelsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _check_head(self) -> tuple[tuple[int, int, int], list[dict[str, Any]]]:
        head, where = self.head, shown(self.path)
        if head.get("format") != "volseg-labels" or head.get("version") != 1:
            raise UnsupportedFormatError(
                f"{where}: expected format 'volseg-labels', version 1; found "
                f"{head.get('format')!r}, {head.get('version')!r}"
            )
        shape = head.get("shape")
        if not isinstance(shape, list) or len(shape) != 3 or not all(shape):
            raise UnsupportedFormatError(f"{where}: shape {shape!r}: expected [z, y, x]")
        z, y, x = (whole_number(n, f"{where}: shape") for n in shape)
        layers = head.get("layers")
        if (
            not isinstance(layers, list)
            or not layers
            or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in layers)
        ):
            raise UnsupportedFormatError(f"{where}: 'layers' must name at least one layer")
        return (z, y, x), layers

    @property
    def n_times(self) -> int:
        """Number of time points."""
        found = whole_number(self.head.get("times", 1), f"{shown(self.path)}: times")
        return max(1, found)

    def layer(self, name: str | None) -> dict[str, Any]:
        """What the file says of a layer (of the only one without a name), and its `index`.

        Raises
        ------
        InputError
        """
        names = [str(one["name"]) for one in self.layers]
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise InputError(
                f"{shown(self.path)}: has the layers {', '.join(names)}; choose one of them"
                + (f", not {name!r}" if name else "")
            )
        index = names.index(name)
        objects = self.layers[index].get("objects")
        return self.layers[index] | {
            "index": index,
            "objects": objects if isinstance(objects, list) else [],
        }

    def slices(self) -> Iterator[LabelSlice]:
        """Yield the slices in the file's order.

        Raises
        ------
        UnsupportedFormatError
            If a slice is wrong: outside, run lengths that don't fill it, objects that overlap.
        """
        with reading(self.path, "JSON file"):
            for number, item in enumerate(self._stream.items()):
                yield self._slice(item, f"{shown(self.path)}: slices[{number}]")

    def _slice(self, item: Any, where: str) -> LabelSlice:
        if not isinstance(item, dict):
            raise UnsupportedFormatError(f"{where}: expected an object")
        layer = whole_number(item.get("layer", 0), f"{where}.layer")
        time = whole_number(item.get("t", 0), f"{where}.t")
        z = whole_number(item.get("z"), f"{where}.z")
        if z >= self.shape[0] or layer >= len(self.layers):
            raise UnsupportedFormatError(f"{where}: z {z} or layer {layer} is beyond the file's")
        ids, counts = item.get("ids"), item.get("counts")
        if not isinstance(ids, list) or not isinstance(counts, list) or len(ids) != len(counts):
            raise UnsupportedFormatError(f"{where}: 'ids' and 'counts' must be lists of one length")
        return LabelSlice(layer, time, z, decode_slice(ids, counts, self.shape[1:], where))


def decode_slice(
    ids: list[Any], counts: list[Any], shape: tuple[int, int], where: str
) -> NDArray[np.uint64]:
    """Draw the run lengths of one slice.

    Parameters
    ----------
    ids : list of int
        One per object.
    counts : list of list of int
        Per object run lengths in row order, starting with background; they sum to y × x.
    shape : (y, x)
    where : str
        For messages.

    Raises
    ------
    UnsupportedFormatError
    """
    total = shape[0] * shape[1]
    flat = np.zeros(total, np.uint64)
    drawn = 0
    for number, (one, runs) in enumerate(zip(ids, counts, strict=True)):
        if isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= MAX_ID:
            raise UnsupportedFormatError(f"{where}.ids[{number}]: {one!r} is no object id")
        if not isinstance(runs, list) or not all(type(n) is int and n >= 0 for n in runs):
            raise UnsupportedFormatError(f"{where}.counts[{number}]: expected whole numbers")
        if sum(runs) != total:
            raise UnsupportedFormatError(
                f"{where}.counts[{number}]: run lengths sum to {sum(runs)}, the slice has {total}"
            )
        ends = np.cumsum(np.array(runs, np.int64))
        lengths = np.array(runs[1::2], np.int64)
        starts = ends[1::2] - lengths
        places = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(
            int(lengths.sum())
        )
        flat[places] = one
        drawn += len(places)
    if drawn != np.count_nonzero(flat):
        raise UnsupportedFormatError(f"{where}: objects overlap")
    return flat.reshape(shape)


def open_json(path: Path, volume: Volume) -> list[LabelLayer]:
    """Open a volseg-labels file as its layers.

    Raises
    ------
    InputError
        If it is damaged or of another kind.
    """
    with LabelsFile(path) as opened:
        layers = [opened.layer(str(one["name"])) for one in opened.layers]
        shape, n_times = opened.shape, opened.n_times
    return [
        LabelLayer(
            str(one["name"]),
            shape,
            n_times,
            _Slabs(path, shape, n_times, number).pieces,
            channel=one.get("channel"),
            category=one.get("category"),
            objects=one["objects"],
        )
        for number, one in enumerate(layers)
    ]


class _Slabs:
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
                check_ids(one.ids)
                buffer[one.z - slab[1][0]] = one.ids
        yield from self._cut(slab, buffer, regions)

    @staticmethod
    def _cut(
        slab: tuple[int, tuple[int, int]] | None, buffer: NDArray[np.generic], regions: list[Region]
    ) -> Iterator[Piece]:
        if slab is None:
            return
        for region in regions:
            if region[0] == slab[1]:
                _, (y0, y1), (x0, x1) = region
                yield slab[0], region, buffer[:, y0:y1, x0:x1]
