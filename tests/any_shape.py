"""Volumes of any shape for `test_any_shape`: drawn, written by volseg or by others, and what their labels must be."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from hypothesis import strategies as st

import volseg
from tests.pipelines.segmentation.volumes import make_truth
from volseg.geometry import Triple
from volseg.images.downsample import downsample_labels
from volseg.images.image import Volume, open_volume

PRIMES = (2, 3, 5, 7, 11, 13, 17, 31, 61, 127, 257, 509, 1021, 1999)
FILES = 2000
"""Most chunks of a level, channel and time."""
SCALES = ((1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 0.25, 0.25), (0.5, 2.0, 0.5))


@dataclass(frozen=True)
class Drawn:
    """One volume and one way to segment it.

    Parameters
    ----------
    shape
        Voxels (z, y, x) of level 0.
    times, channels
        Lengths of these axes; 0 where the image has none.
    scale
        Voxel size (z, y, x), micrometres.
    writer
        ``import`` of a NumPy file, or ``zarr`` by zarr-python alone.
    zarr_format, separator, chunks
        Of the image where others wrote it.
    factors
        (z, y, x) from level to level of an image by others.
    up
        Whether its level sizes are rounded up.
    level
        That is segmented.
    existing
        (z, y, x) chunks of a label image by others that is added to; None: a new one.
    window, group, cut
        Slices and objects of a propagate block; storage objects (z, y, x) of a compose block, None: as planned.
    seed
        Of the objects.
    """

    shape: Triple
    times: int
    channels: int
    scale: tuple[float, float, float]
    writer: str
    zarr_format: int
    separator: str
    chunks: Triple
    factors: tuple[Triple, ...]
    up: bool
    level: int
    existing: Triple | None
    window: int
    group: int
    cut: Triple | None
    seed: int

    @property
    def axes(self) -> str:
        """Axes of the image."""
        kinds = ("t" if self.times else "") + ("c" if self.channels else "")
        return kinds + ("yx" if self.shape[0] == 1 and self.seed % 2 else "zyx")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        of = dict(zip("zyx", self.shape, strict=True), t=self.times, c=self.channels)
        return tuple(of[kind] for kind in self.axes)

    def level_shapes(self) -> list[Triple]:
        """Voxels of each level of an image by others."""
        shapes, total = [self.shape], np.ones(3, int)
        for step in self.factors:
            total *= step
            z, y, x = (
                max(1, -(-n // f) if self.up else n // f)
                for n, f in zip(self.shape, total.tolist(), strict=True)
            )
            shapes.append((z, y, x))
        return shapes


def side(most: int) -> st.SearchStrategy[int]:
    """One slice, primes, a voxel more or less than a chunk, and anything."""
    near = sorted({n for c in (8, 16, 64, 256, 512, 1024) for n in (c - 1, c, c + 1) if n <= most})
    primes = [n for n in PRIMES if n <= most]
    special = [st.sampled_from(lengths) for lengths in (primes, near) if lengths]
    return st.one_of(st.just(1), *special, st.integers(1, most))


@st.composite
def shapes(draw: st.DrawFn, voxels: int, longest: Triple) -> Triple:
    """(z, y, x) of at most so many voxels: each axis as long as the others leave room for, in any order."""
    lengths = [1, 1, 1]
    for axis in draw(st.permutations(range(3))):
        left = voxels // (lengths[0] * lengths[1] * lengths[2])
        lengths[axis] = draw(side(min(longest[axis], left)))
    return (lengths[0], lengths[1], lengths[2])


def few(shape: Triple, chunk: Triple) -> Triple:
    """The chunk, or a longer one: half a million files take a disk longer than all else that is tried."""
    lengths = list(chunk)
    while math.prod(counts := [-(-n // c) for n, c in zip(shape, lengths, strict=True)]) > FILES:
        lengths[counts.index(max(counts))] *= 2
    return (lengths[0], lengths[1], lengths[2])


@st.composite
def volumes(draw: st.DrawFn, voxels: int, longest: Triple) -> Drawn:
    """Any volume of at most so many voxels, with no axis longer than `longest` (z, y, x)."""
    shape = draw(shapes(voxels, longest))
    steps = st.tuples(*[st.sampled_from((1, 2, 2, 3))] * 3)
    writer = draw(st.sampled_from(("import", "zarr", "zarr")))
    factors = tuple(draw(st.lists(steps, max_size=3))) if writer == "zarr" else ()
    chunk = st.tuples(st.integers(1, 20), st.integers(4, 300), st.integers(4, 300))
    chunk = chunk.map(lambda drawn: few(shape, drawn))
    return Drawn(
        shape=shape,
        times=draw(st.integers(0, 2)),
        channels=draw(st.integers(0, 2)),
        scale=draw(st.sampled_from(SCALES)),
        writer=writer,
        zarr_format=draw(st.sampled_from((2, 3))),
        separator=draw(st.sampled_from("./")),
        chunks=draw(chunk),
        factors=factors,
        up=draw(st.booleans()),
        level=draw(st.integers(0, min(1, len(factors)))),
        existing=draw(st.one_of(st.none(), chunk)),
        window=max(draw(st.integers(1, 20)), shape[0] // 6),  # few enough blocks
        group=draw(st.integers(1, 3)),
        cut=draw(st.one_of(st.none(), st.tuples(*[st.integers(1, 2)] * 3))),
        seed=draw(st.integers(0, 999)),
    )


# --- written ---------------------------------------------------------------------------------------------------------


def write_image(folder: Path, drawn: Drawn) -> Volume:
    """The image, by volseg or by others; voxels tell their place."""
    data = np.arange(np.prod(drawn.sizes), dtype=np.uint32).reshape(drawn.sizes) % 251
    target = folder / "v.zarr"
    if drawn.writer == "import":
        np.save(folder / "a.npy", data.astype(np.uint8))
        volseg.import_volume(
            folder / "a.npy", target, axes=drawn.axes, voxel_size_um=drawn.scale,
            chunks=drawn.chunks if drawn.seed % 3 else None,
        )  # fmt: skip
    else:
        levels = [data.astype(np.uint8)]
        for shape in drawn.level_shapes()[1:]:
            lead = data.shape[
                : -min(3, len(drawn.axes) - drawn.axes.index("y") + ("z" in drawn.axes))
            ]
            wanted = shape if "z" in drawn.axes else shape[1:]
            levels.append(np.zeros((*lead, *wanted), np.uint8))
        write_pyramid(target, drawn, drawn.axes, levels, drawn.chunks)
    return open_volume(target)


def write_pyramid(
    target: Path,
    drawn: Drawn,
    axes: str,
    levels: Sequence[np.ndarray[Any, Any]],
    chunks: Triple,
    first: int = 0,
) -> None:
    """An OME-Zarr group as zarr-python writes it; `first` is the image's level that its level 0 has the grid of."""
    group = zarr.open_group(str(target), mode="w", zarr_format=drawn.zarr_format)  # type: ignore[arg-type]
    units = {kind: {"type": "space", "unit": "micrometer"} for kind in "zyx"}
    units |= {"t": {"type": "time", "unit": "second"}, "c": {"type": "channel"}}
    totals = np.cumprod([(1, 1, 1), *drawn.factors], axis=0).tolist()[first:]
    datasets = []
    for i, (data, total) in enumerate(zip(levels, totals, strict=True)):
        piece = dict(zip("zyx", chunks, strict=True), t=1, c=1)
        encoding = {"name": "v2" if drawn.zarr_format == 2 else "default"}
        array = group.create_array(
            str(i), shape=data.shape, chunks=tuple(piece[kind] for kind in axes), dtype=data.dtype,
            chunk_key_encoding=encoding | {"separator": drawn.separator},  # type: ignore[arg-type]
        )  # fmt: skip
        array[...] = data
        step = dict(zip("zyx", total, strict=True))
        sizes = dict(zip("zyx", drawn.scale, strict=True))
        scale = [sizes[kind] * step[kind] if kind in "zyx" else 1.0 for kind in axes]
        datasets.append(
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    entry = {"axes": [{"name": k, **units[k]} for k in axes], "datasets": datasets}
    if drawn.zarr_format == 2:
        group.attrs["multiscales"] = [entry | {"version": "0.4", "name": target.name}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [entry | {"name": target.name}]}


def write_labels_of_others(volume: Volume, drawn: Drawn, ids: np.ndarray[Any, Any]) -> None:
    """A label image `cells` on the grid of the level that is segmented, with all coarser levels, by zarr-python."""
    axes = "".join(kind for kind in volume.axes if kind != "c")
    levels = [ids]
    for shape, step in zip(
        drawn.level_shapes()[drawn.level + 1 :], drawn.factors[drawn.level :], strict=True
    ):
        levels.append(coarser(levels[-1], step, shape))
    lead = (max(1, drawn.times),) if "t" in axes else ()
    flat = "z" not in axes
    stacked = [
        np.broadcast_to(one[0] if flat else one, (*lead, *one.shape[flat:])) for one in levels
    ]
    path = Path(str(volume.location.local_path)) / "labels"
    assert drawn.existing is not None
    write_pyramid(path / "cells", drawn, axes, stacked, drawn.existing, drawn.level)
    group = zarr.open_group(str(path), mode="a", zarr_format=drawn.zarr_format)  # type: ignore[arg-type]
    if drawn.zarr_format == 2:
        group.attrs["labels"] = ["cells", "truth"]
    else:
        group.attrs["ome"] = {"version": "0.5", "labels": ["cells", "truth"]}


def write_truth(volume: Volume, drawn: Drawn) -> np.ndarray[Any, Any]:
    """One to three objects on the grid of the level that is segmented, as the label image `truth`: (z, y, x) uint32."""
    shape = volume.levels[drawn.level].grid.shape
    truth = make_truth(shape, 1 + drawn.seed % 3, drawn.seed)
    truth[tuple(n // 2 for n in shape)] = 1  # never empty
    labels = volume.create_labels("truth", level=drawn.level)
    whole: Any = tuple((0, n) for n in shape)
    for time in range(volume.n_times):
        labels.write_objects(whole, truth, time=time)
    return truth


def prompts_on(volume: Volume, drawn: Drawn, truth: np.ndarray[Any, Any]) -> dict[str, Any]:
    """One point for each object on voxels of level 0, in the middle of a voxel of the level that is segmented."""
    level = volume.levels[drawn.level]
    steps = np.round(np.divide(level.scale, volume.scale))
    objects = []
    for i in np.unique(truth[truth > 0]):
        places = np.argwhere(truth == i)
        z, y, x = places[len(places) // 2]
        z0 = min(int((z + 0.5) * steps[0]), volume.shape[0] - 1)
        y0, x0 = ((v + 0.5) * f - 0.5 for v, f in zip((y, x), steps[1:], strict=True))
        y0, x0 = (min(v, n - 1) for v, n in zip((y0, x0), volume.shape[1:], strict=True))
        last = volume.n_times - 1
        objects.append(
            {"id": int(i), "prompts": [{"z": z0, "t": last, "points": [[float(y0), float(x0), 1]]}]}
        )
    document = {"format": "volseg-prompts", "version": 1, "layers": [{"name": "cells"}]}
    return json.loads(json.dumps(document | {"objects": objects}))  # type: ignore[no-any-return]


def coarser(
    finer: np.ndarray[Any, Any], step: Sequence[int], shape: Sequence[int]
) -> np.ndarray[Any, Any]:
    """The mode of a level, of the size that the next level has: what is rounded away is not there."""
    z, y, x = shape
    return downsample_labels(finer, step)[:z, :y, :x]
