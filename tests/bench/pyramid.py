"""Label pyramids: mode downsampling and whole pyramids against plain NumPy, ome-zarr and ngff-zarr, and peak memory.

Run ``python -m tests.bench.pyramid [--size 512 389] [--parts modes pyramids memory] [--memory-sizes 256 389 …]``;
prints a JSON line for each size. Ratios are of CPU time, which other work on
the machine disturbs less than the clock; those of the clock stand beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volseg.images.create import create_volume
from volseg.images.downsample import downsample_labels
from volseg.images.labels import Labels, open_labels
from volseg.images.pyramid import build_pyramid, owned_levels, write_with_coarser

SCALE_UM = (0.1, 0.1, 0.1)
SIZES = (512, 389)
"""The second is as most volumes are: no power of two, no multiple of a chunk."""
PARTS = ("modes", "pyramids", "memory")
Seconds = tuple[float, float]


def real_looking_labels(size: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Touching, rounded cells of about 30 voxels with background between; 256³ of them, mirrored to the size."""
    from scipy import ndimage

    tile = min(size, 256)
    rng = np.random.default_rng(seed)
    n = max(2, tile**3 // 110_000)
    seeds = np.zeros((tile,) * 3, np.uint32)
    seeds[tuple(rng.integers(0, tile, (3, n)))] = np.arange(1, n + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    cells = seeds[tuple(nearest)]
    cells[distance > 28] = 0
    labels = np.zeros((size,) * 3, np.uint32)
    for number, (z, y, x) in enumerate(np.ndindex((-(-size // tile),) * 3)):
        flips = tuple(slice(None, None, -1 if i % 2 else 1) for i in (z, y, x))
        part = tuple(slice(i * tile, (i + 1) * tile) for i in (z, y, x))
        target = labels[part]
        source = cells[flips][tuple(slice(0, n) for n in target.shape)]
        target[...] = np.where(source, source + number * n, 0)
    return labels


def timed(function: Callable[[], Any], repeats: int = 1) -> Seconds:
    """Return the best (CPU, clock) seconds of some runs."""
    runs = []
    for _ in range(repeats):
        cpu, clock = time.process_time(), time.perf_counter()
        function()
        runs.append((time.process_time() - cpu, time.perf_counter() - clock))
    return min(run[0] for run in runs), min(run[1] for run in runs)


def over(one: Seconds, other: Seconds) -> dict[str, float]:
    """Return how many times as long `one` takes as `other`."""
    return {"cpu": round(one[0] / other[0], 2), "clock": round(one[1] / other[1], 2)}


def empty_labels(folder: Path, size: int) -> Labels:
    """Make an image without data and an empty label image beside it."""
    volume = create_volume(
        folder, axes="zyx", shape=(size,) * 3, dtype="u1", scale_um=SCALE_UM, levels=3
    )
    return volume.create_labels("cells")


def blocks(labels: Labels) -> list[Any]:
    """Cut level 0 into blocks that own as many coarser levels as 64 MiB of voxels allow."""
    return list(labels.grid.blocks((8, 1, 1)))


def write_level_0(labels: Labels, data: np.ndarray[Any, Any]) -> None:
    """Write level 0 alone."""
    for (z0, z1), (y0, y1), (x0, x1) in blocks(labels):
        part = data[z0:z1, y0:y1, x0:x1]
        labels.write_objects(((z0, z1), (y0, y1), (x0, x1)), part, fresh=True)


def write_all_levels(labels: Labels, data: np.ndarray[Any, Any]) -> None:
    """Write level 0, what each block owns of the coarser levels, and the rest from what is stored."""
    multiple = (4, 2, 2)
    owned = 0
    for region in labels.grid.blocks(multiple):
        (z0, z1), (y0, y1), (x0, x1) = region
        owned = max(owned, len(owned_levels(labels, region)))
        write_with_coarser(labels, region, data[z0:z1, y0:y1, x0:x1], fresh=True)
    build_pyramid(labels, first=owned, threads=1)


HALVES = [{"z": f, "y": f, "x": f} for f in (2, 4)]


def with_ome_zarr(folder: Path, data: np.ndarray[Any, Any]) -> None:
    """Write level 0 and two levels as ome-zarr does by default, z halved too."""
    import zarr
    from ome_zarr.writer import write_labels

    group = zarr.open_group(str(folder), mode="w", zarr_format=3)
    write_labels(data, group, "cells", axes="zyx", scaler=None, scale_factors=list(HALVES))


def with_ngff_zarr(folder: Path, data: np.ndarray[Any, Any]) -> None:
    """Write level 0 and the pyramid of modes as ngff-zarr does."""
    import ngff_zarr

    ngff_zarr.to_ngff_zarr(str(folder), ngff_levels(data, [2, 4]))


def ngff_levels(data: np.ndarray[Any, Any], factors: list[int]) -> Any:
    """Plan ngff-zarr's pyramid of modes; nothing is computed yet."""
    import ngff_zarr

    image = ngff_zarr.to_ngff_image(data, dims=["z", "y", "x"])
    method = ngff_zarr.Methods.DASK_IMAGE_MODE
    return ngff_zarr.to_multiscales(image, scale_factors=factors, method=method)


def half_with_ome_zarr(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make level 1 in memory with what ome-zarr's `write_labels` uses by default: nearest, in its default chunks."""
    import dask.array
    from ome_zarr.scale import Methods, method_dispatch

    half = tuple(n // 2 for n in data.shape)
    nearest = method_dispatch[Methods.NEAREST]
    made = nearest["func"](dask.array.from_array(data), output_shape=half, **nearest["kwargs"])
    return np.asarray(made.compute(scheduler="synchronous"))


def half_with_ngff_zarr(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make level 1 in memory with ngff-zarr."""
    level = ngff_levels(data, [2]).images[1].data
    return np.asarray(level.compute(scheduler="synchronous"))


def other_library(function: Callable[..., Any], *arguments: Any) -> tuple[Seconds, Any] | None:
    """Time another library and return what it makes too, None where it is not installed."""
    made = None

    def run() -> None:
        nonlocal made
        made = function(*arguments)

    try:
        return timed(run), made
    except ImportError:
        return None


def memory_kib(which: str) -> int:
    """Memory of this process now (VmRSS) or at its peak (VmHWM); getrusage would tell the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1])
    raise OSError(f"no {which} in /proc/self/status")


def peak_memory(url: str) -> dict[str, float]:
    """Build a pyramid here and return how far above idle the process's memory went, MiB."""
    labels = open_labels(url, "cells")
    labels.read(((0, 1), (0, 1), (0, 1)))  # imports and threads
    downsample_labels(np.zeros((2, 2, 2), labels.dtype), (2, 2, 2), compiled=True)
    before = memory_kib("VmRSS")
    build_pyramid(labels, threads=1)
    return {"peak_mib": round((memory_kib("VmHWM") - before) / 1024, 1)}


def peak_memory_elsewhere(folder: Path) -> float:
    """Measure `peak_memory` in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.pyramid", "--memory-of", str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(found.stdout.splitlines()[-1])["peak_mib"])


def measure_modes(data: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Measure one halving in memory, each on one core."""

    def halve() -> np.ndarray[Any, Any]:
        return downsample_labels(data, (2, 2, 2), compiled=True)

    ours = halve()  # compiles
    mode = timed(halve, 3)
    numpy = timed(lambda: downsample_labels(data, (2, 2, 2)))
    stride = timed(lambda: np.ascontiguousarray(data[::2, ::2, ::2]), 3)
    corner = data[:32, :32, :32]
    found: dict[str, Any] = {
        "mode_mvoxel_per_cpu_s": round(data.size / mode[0] / 1e6),
        "mode_over_stride": over(mode, stride),
        "mode_right": np.array_equal(ours, downsample_labels(data, (2, 2, 2))),
        "mode_of_numpy_over_mode": over(numpy, mode),
    }
    for name, function in (("ome_zarr", half_with_ome_zarr), ("ngff_zarr", half_with_ngff_zarr)):
        other_library(function, corner)  # imports
        other = other_library(function, data)
        if other is not None:
            found[f"{name}_mode_over_mode"] = over(other[0], mode)
            both = tuple(slice(min(n, m)) for n, m in zip(other[1].shape, ours.shape, strict=True))
            differ = other[1][both] != ours[both]  # others round sizes down
            found[f"{name}_voxels_otherwise"] = round(float(np.mean(differ)), 5)
    return found


def measure_pyramids(here: Path, data: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Measure whole pyramids written to a folder, and the memory of building one."""
    size = data.shape[0]
    write_level_0(empty_labels(here / "warm.zarr", 64), data[:64, :64, :64])
    alone = empty_labels(here / "alone.zarr", size)
    one = timed(lambda: write_level_0(alone, data))
    whole = empty_labels(here / "whole.zarr", size)
    every = timed(lambda: write_all_levels(whole, data))
    right = np.array_equal(np.asarray(whole.levels[1]), downsample_labels(data, (2, 2, 2)))
    found: dict[str, Any] = {
        "all_levels_over_level_0": over(every, one),
        "pyramid_right": right,
        "seconds": {"level_0": one, "all_levels": every},
    }
    for name, function in (("ome_zarr", with_ome_zarr), ("ngff_zarr", with_ngff_zarr)):
        other = other_library(function, here / name, data)
        if other is not None:
            found[f"{name}_over_volseg"] = over(other[0], every)
            found["seconds"][name] = other[0]
    return found


def measure_memory(here: Path, data: np.ndarray[Any, Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Measure the memory of building pyramids of several sizes, on repeats of the same labels."""
    found = {}
    for size in sizes:
        labels = empty_labels(here / f"{size}.zarr", size)
        for region in blocks(labels):
            part = data[np.ix_(*(np.arange(*span) % len(data) for span in region))]
            labels.write_objects(region, part, fresh=True)
        found[f"{size}³"] = peak_memory_elsewhere(here / f"{size}.zarr")
    return {"peak_mib_of_building": found}


def measure(size: int, sizes: Sequence[int], parts: Sequence[str]) -> dict[str, Any]:
    """Run the parts asked for on size³ labels; memory is measured on pyramids of `sizes`."""
    data = real_looking_labels(size)
    found: dict[str, Any] = {"bench": "pyramid", "size": size}
    with tempfile.TemporaryDirectory(prefix="bench-pyramid-") as folder:
        if "modes" in parts:
            found |= measure_modes(data)
        if "pyramids" in parts:
            found |= measure_pyramids(Path(folder), data)
        if "memory" in parts:
            found |= measure_memory(Path(folder), data, sizes)
    return found


def main() -> None:
    """Read the command line and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=SIZES)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--memory-sizes", nargs="+", type=int, default=[256, 389, 512, 1024])
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(json.dumps(peak_memory(given.memory_of)))
    else:
        for i, size in enumerate(given.size):
            sizes = given.memory_sizes if i == 0 else []  # measured once, on sizes of its own
            print(json.dumps(measure(size, sizes, given.parts)))


if __name__ == "__main__":
    main()
