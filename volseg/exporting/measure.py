"""Measurements of every object in one pass over the blocks: size, place, axes, surface,
brightness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.exporting.ahead import in_order
from volseg.exporting.selection import BLOCK_BYTES, Selection
from volseg.geometry import Region
from volseg.measurement.crofton import Crossings
from volseg.measurement.runs import Runs, runs_of
from volseg.measurement.tally import Tally, numbered
from volseg.progress import Progress, silent

_SurfaceCounter = Callable[[Region, NDArray[Any], Runs], Tally | None]
_MOMENTS = 10  # 1, z, y, x, zz, yy, xx, zy, zx, yx
_MERGE_EVERY = 32
COMPILED_FROM = 1 << 24
"""Voxels of a selection from which on compiling the loop over surfaces pays."""


@dataclass(frozen=True)
class Measurements:
    """One row per object, sorted by id.

    Attributes
    ----------
    ids : ndarray of uint64 (n,)
    voxels : ndarray of int64 (n,)
    bbox : ndarray of int64 (n, 6)
        z0, y0, x0, z1, y1, x1 in voxels of the level, half-open.
    centroid : ndarray (n, 3)
        z, y, x in voxels of the level, voxel centres being whole numbers.
    covariance : ndarray (n, 3, 3)
        Of voxel centres, in µm².
    slices : ndarray of int64 (n,)
        Number of z with a voxel of the object.
    surface : ndarray (n,) or None
        µm², by Crofton's formula; of a single slice the perimeter in µm.
    intensity : dict of channel to ndarray (n, 4)
        Mean, standard deviation, least, greatest.
    """

    ids: NDArray[np.uint64]
    voxels: NDArray[np.int64]
    bbox: NDArray[np.int64]
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    slices: NDArray[np.int64]
    surface: NDArray[np.float64] | None
    intensity: dict[int, NDArray[np.float64]]

    def boxes(self) -> dict[int, Region]:
        """Bounding box of each object in voxels of the level."""
        return {
            int(i): ((b[0], b[3]), (b[1], b[4]), (b[2], b[5]))
            for i, b in zip(self.ids, self.bbox.tolist(), strict=True)
        }

    def axis_lengths_um(self, flat: bool) -> NDArray[np.float64]:
        """Full lengths of the axes of the ellipsoid (`flat`: ellipse) with the same second moments.

        Returns
        -------
        ndarray (n, 3)
            In µm, longest first; as `axis_major_length` of scikit-image.
        """
        values = np.linalg.eigvalsh(self.covariance)[:, ::-1] if len(self.ids) else np.empty((0, 3))
        return np.sqrt(np.clip(values, 0, None) * (16 if flat else 20))


def measure(
    selection: Selection,
    *,
    intensities: bool = True,
    surfaces: bool = True,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress = silent,
) -> Measurements:
    """Measure every selected object.

    Parameters
    ----------
    selection : Selection
    intensities : bool
        Also measure the image, where it has a level on this grid.
    surfaces : bool
        Also estimate surfaces.
    block_bytes : int
        About how many bytes of ids are worked on at once.
    progress : Progress
    """
    channels = (
        list(range(selection.volume.n_channels))
        if intensities and selection.image_level is not None
        else []
    )
    body, skin = _Parts(), _Parts()
    count = _surface_counter(selection) if surfaces else None
    slices = _Slices()
    blocks = list(selection.blocks(block_bytes))
    with ThreadPoolExecutor(1) as pool:
        for done, (region, ids, image) in enumerate(_ahead(pool, selection, blocks, channels), 1):
            runs = runs_of(ids, (region[0][0], region[1][0], region[2][0]))
            slices.add(runs, last=region[1][1] == selection.shape[1])
            if len(runs.ids):
                body.add(_tally(runs, image))
            if count is not None and (found := count(region, ids, runs)) is not None:
                skin.add(found)
            progress("measure", done, len(blocks))
    return _finished(selection, body.total(), skin.total(), slices.counts, channels, surfaces)


def _surface_counter(selection: Selection) -> _SurfaceCounter:
    """What counts the surfaces of blocks: at once for small selections, compiled for large ones."""
    shape, scale, dtype = selection.shape, selection.scale, selection.labels.dtype
    if prod(shape) >= COMPILED_FROM:
        from volseg.measurement.crossing_loop import RunCrossings

        compiled = RunCrossings(shape, scale, dtype)

        def from_runs(region: Region, ids: NDArray[Any], runs: Runs) -> Tally | None:
            owners, amounts = compiled.add(runs, (region[0][0], region[1][0]), *ids.shape[:2])
            return Tally.grouped(owners, [amounts], [], [])

        return from_runs
    crossings = Crossings(shape, scale, dtype)

    def from_voxels(region: Region, ids: NDArray[Any], runs: Runs) -> Tally | None:
        found = list(crossings.add(ids, region[0][0], region[1][0]))
        if not found:
            return None
        owners = np.concatenate([i for i, _ in found])
        return Tally.grouped(owners, [np.concatenate([a for _, a in found])], [], [])

    return from_voxels


def _ahead(
    pool: ThreadPoolExecutor, selection: Selection, blocks: list[Region], channels: list[int]
) -> Iterator[tuple[Region, NDArray[Any], list[NDArray[Any]]]]:
    """Read the next block while one is worked on."""

    def read(region: Region) -> tuple[Region, NDArray[Any], list[NDArray[Any]]]:
        image = [selection.read_image(region, channel) for channel in channels]
        return region, selection.read(region), image

    return in_order(pool, read, blocks, 1)


def _tally(runs: Runs, image: list[NDArray[Any]]) -> Tally:
    """Moments, bounds and brightness of the runs of a block."""
    n = runs.length.astype(np.float64)
    z, y = runs.z.astype(np.float64), runs.y.astype(np.float64)
    first = runs.x.astype(np.float64)
    sum_x = n * first + n * (n - 1) / 2
    sum_xx = n * first**2 + first * n * (n - 1) + (n - 1) * n * (2 * n - 1) / 6
    sums = [n, n * z, n * y, sum_x, n * z * z, n * y * y, sum_xx, n * z * y, z * sum_x, y * sum_x]
    least, greatest = [z, y, first], [z, y, first + n - 1]
    for channel in image:
        flat = np.ascontiguousarray(channel).reshape(-1)
        total, squares, low, high = _brightness(flat, runs)
        sums += [total, squares]
        least.append(low)
        greatest.append(high)
    return Tally.grouped(runs.ids.astype(np.uint64), sums, least, greatest)


def _brightness(flat: NDArray[Any], runs: Runs) -> tuple[NDArray[np.float64], ...]:
    """Sum, sum of squares, least and greatest value along each run."""
    # Pairs of borders: even places are the runs, odd ones what lies between them.
    borders = np.empty(2 * len(runs.start), np.int64)
    borders[0::2], borders[1::2] = runs.start, runs.start + runs.length
    if borders[-1] == flat.size:
        borders = borders[:-1]
    values = flat.astype(np.float64)
    return (
        np.add.reduceat(values, borders)[::2],
        np.add.reduceat(values * values, borders)[::2],
        np.minimum.reduceat(flat, borders)[::2].astype(np.float64),
        np.maximum.reduceat(flat, borders)[::2].astype(np.float64),
    )


def _finished(
    selection: Selection,
    body: Tally | None,
    skin: Tally | None,
    slices: dict[int, int],
    channels: list[int],
    surfaces: bool,
) -> Measurements:
    if body is None:
        nothing = np.empty((0, 0))
        body = Tally(np.empty(0, np.uint64), np.empty((0, _MOMENTS)), np.empty((0, 3)), nothing)
        body = Tally(body.ids, body.sums, body.least, np.empty((0, 3)))
        channels = []
    n = body.sums[:, 0]
    centroid = body.sums[:, 1:4] / n[:, None]
    origin = np.array(selection.origin)
    second = body.sums[:, 4:10] / n[:, None]
    covariance = np.empty((len(n), 3, 3))
    for column, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]):
        value = second[:, column] - centroid[:, a] * centroid[:, b]
        covariance[:, a, b] = covariance[:, b, a] = value
    scale = np.array(selection.scale)
    low, high = body.least[:, :3] + origin, body.greatest[:, :3] + origin + 1
    surface = None
    if surfaces:
        known = {} if skin is None else dict(zip(skin.ids.tolist(), skin.sums[:, 0], strict=True))
        surface = np.array([known.get(i, 0.0) for i in body.ids.tolist()], np.float64)
    return Measurements(
        body.ids,
        n.astype(np.int64),
        np.concatenate([low, high], axis=1).astype(np.int64),
        centroid + origin,
        covariance * scale[:, None] * scale[None, :],
        np.array([slices[i] for i in body.ids.tolist()], np.int64),
        surface,
        {c: _statistics(body, n, at) for at, c in enumerate(channels)},
    )


def _statistics(body: Tally, n: NDArray[np.float64], at: int) -> NDArray[np.float64]:
    total, squares = body.sums[:, _MOMENTS + 2 * at], body.sums[:, _MOMENTS + 1 + 2 * at]
    mean = total / n
    deviation = np.sqrt(np.clip(squares / n - mean**2, 0, None))
    low, high = body.least[:, 3 + at], body.greatest[:, 3 + at]
    return np.stack([mean, deviation, low, high], axis=1)


class _Parts:
    """Tallies, joined now and then so that they don't pile up."""

    def __init__(self) -> None:
        self._parts: list[Tally] = []

    def add(self, part: Tally) -> None:
        self._parts.append(part)
        if len(self._parts) > _MERGE_EVERY:
            self._parts = [Tally.joined(self._parts)]

    def total(self) -> Tally | None:
        return Tally.joined(self._parts) if self._parts else None


class _Slices:
    """In how many slices each object is; strips of one slab are put together first."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self._pending: list[NDArray[np.uint64]] = []

    def add(self, runs: Runs, *, last: bool) -> None:
        if len(runs.ids):
            ids, z = runs.ids.astype(np.uint64), runs.z.astype(np.uint64)
            change = np.ones(len(ids), bool)
            np.not_equal(ids[1:], ids[:-1], out=change[1:])
            change[1:] |= z[1:] != z[:-1]
            self._pending.append(_unique_pairs(np.stack([ids[change], z[change]], axis=1)))
        if last and self._pending:
            once = _unique_pairs(np.concatenate(self._pending))
            ids, counts = np.unique(once[:, 0], return_counts=True)
            for one, count in zip(ids.tolist(), counts.tolist(), strict=True):
                self.counts[one] = self.counts.get(one, 0) + count
            self._pending = []


def _unique_pairs(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    ids, places = numbered(pairs[:, 0])
    first, depth = int(pairs[:, 1].min()), int(np.ptp(pairs[:, 1])) + 1
    both = np.unique(places * depth + (pairs[:, 1].astype(np.int64) - first))
    return np.stack([ids[both // depth], (both % depth + first).astype(np.uint64)], axis=1)
