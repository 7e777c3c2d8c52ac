"""Benchmark `export`: TIFF export against `tifffile.imwrite` of the same array from memory, its peak
memory, and the CSV table against `skimage.measure.regionprops_table`.

`python tests/bench/export.py [--shape Z Y X] [--table-shape Z Y X] [--objects N] [--rounds N]
[--only tiff|csv] [--keep DIR]` prints a JSON line for each shape. Each measured step runs in a process of its own. With
`--keep`, what is made to measure on stays in that folder, and is taken from there the next time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from volseg.exporting import export  # noqa: E402
from volseg.images.image import open_volume  # noqa: E402
from volseg.images.labels import Labels, open_labels  # noqa: E402

SHAPES = ((256, 2048, 2048), (101, 1388, 1040))
TABLE_SHAPES = ((96, 1024, 1024), (61, 777, 901))
"""The second is as most volumes are: no power of two, no multiple of a chunk."""
SCALE = (2.0, 0.5, 0.5)


def blobs(shape: tuple[int, int, int], count: int, seed: int = 0) -> np.ndarray:
    """Labels of `count` ellipsoids on a jittered grid, uint32 (z, y, x)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    cell = (np.prod(shape) / count) ** (1 / 3)
    counts = [max(1, int(n / cell)) for n in shape]
    while np.prod(counts) < count:
        counts[int(np.argmax(np.array(shape) / counts))] += 1
    sizes = np.array(shape) / counts
    radius = sizes * 0.46
    axes = [np.arange(-int(r), int(r) + 1) for r in radius]
    ball = sum((a / r) ** 2 for a, r in zip(np.meshgrid(*axes, indexing="ij"), radius, strict=True))
    mask = ball <= 1
    for one in range(count):
        index = np.unravel_index(one, counts)
        centre = ((np.array(index) + 0.5) * sizes + rng.uniform(-1, 1, 3)).astype(int)
        low = np.clip(centre - [len(a) // 2 for a in axes], 0, None)
        high = np.minimum(low + mask.shape, shape)
        part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        cut = mask[tuple(slice(0, n) for n in part.shape)]
        part[cut] = one + 1
    return labels


def prepare(folder: Path, shape: tuple[int, int, int], count: int) -> None:
    """Write the labels as an array file and as a label image with its table, unless they are there."""
    if (folder / "labels.npy").exists():
        return
    from volseg.images.create import create_volume
    from volseg.images.scan import scan_objects
    from volseg.importing.volumes import slabs

    array = blobs(shape, count)
    volume = create_volume(
        folder / "v.zarr",
        axes="zyx",
        shape=shape,
        dtype="uint8",
        scale_um=SCALE,
        levels=1,
        overwrite=True,
    )
    labels = volume.create_labels("cells")
    for region in slabs(labels.grid, 4):
        labels.write_objects(region, array[tuple(slice(*part) for part in region)], fresh=True)
    labels.objects.replace(scan_objects(labels))
    np.save(folder / "labels.npy", array)


def memory_kib(which: str) -> int:
    """Memory of this process now (VmRSS) or at its peak (VmHWM); getrusage would tell the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1])
    raise OSError(f"no {which} in /proc/self/status")


def step(name: str, folder: Path) -> dict[str, float]:
    """Run one measured step in this process."""
    import tifffile

    labels = open_labels(open_volume(folder / "v.zarr"), "cells")
    labels.read(((0, 1), (0, 1), (0, 1)))
    if name in ("imwrite", "imwrite-zlib", "regionprops"):
        array = np.load(folder / "labels.npy")
    first = _warmed(name, labels, folder)
    idle = memory_kib("VmRSS")
    for target in ("reference.tif", "export.tif"):
        (folder / target).unlink(
            missing_ok=True
        )  # both sides write into memory that was just freed
    start, cpu = time.perf_counter(), time.process_time()
    if name.startswith("imwrite"):
        packed = "zlib" if name == "imwrite-zlib" else None
        tifffile.imwrite(folder / "reference.tif", array, compression=packed)
    elif name.startswith("export"):
        export(labels, folder / "export.tif", compression=_compression(name))
    elif name.startswith("csv"):
        _table(name, labels, folder / "table.csv")
    elif name == "regionprops":
        found = regionprops(array)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        np.savez(folder / "regionprops.npz", **found)
        return {"seconds": seconds, "cpu_seconds": cpu}
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = memory_kib("VmHWM")
    above = (peak - idle) / 1024
    return {"seconds": seconds, "cpu_seconds": cpu, "above_idle_mib": above, "first": first}


def _warmed(name: str, labels: Labels, folder: Path) -> float:
    """Do before what only the first time of a process costs: imports, loading compiled loops; its seconds."""
    start = time.perf_counter()
    if name.startswith("export"):
        packed = _compression(name)
        export(labels, folder / "warm.tif", z=(0, 1), overwrite=True, compression=packed)
    elif name.startswith("csv"):
        _table(name, labels, folder / "warm.csv")
    elif name == "regionprops":
        regionprops(np.ones((3, 3, 3), np.uint8))
    return time.perf_counter() - start


def _compression(name: str) -> str | None:
    return "none" if name == "export-none" else None


def _table(name: str, labels: Labels, out: Path) -> None:
    surfaces = name == "csv-surfaces"
    export(labels, out, overwrite=True, surfaces=surfaces, intensities=False)


def regionprops(array: np.ndarray) -> dict[str, np.ndarray]:
    """What scikit-image measures of the columns of the table."""
    from skimage.measure import regionprops_table

    properties = ("label", "num_pixels", "area", "bbox", "centroid")
    axes = ("axis_major_length", "axis_minor_length")
    found: dict[str, np.ndarray] = regionprops_table(
        array, properties=(*properties, *axes), spacing=SCALE
    )
    return found


def measured(names: Sequence[str], folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Several rounds of some steps in turn, each in a fresh process."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, __file__, "--step", name, str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def same_numbers(folder: Path) -> bool:
    """Whether the table holds what regionprops found."""
    import pandas

    table = pandas.read_csv(folder / "table.csv")
    found = np.load(folder / "regionprops.npz")
    pairs = {
        "id": "label",
        "voxels": "num_pixels",
        "volume_um3": "area",
        "bbox_z0": "bbox-0",
        "bbox_x1": "bbox-5",
        "centroid_z_um": "centroid-0",
        "centroid_x_um": "centroid-2",
        "axis_1_um": "axis_major_length",
        "axis_3_um": "axis_minor_length",
    }
    return all(np.allclose(table[a], found[b], rtol=1e-6, atol=1e-6) for a, b in pairs.items())


Runs = dict[str, list[dict[str, float]]]


def ratio(runs: Runs, one: str, other: str) -> dict[str, float]:
    """How many times as long one step takes as another of the same round: the median of the rounds."""
    pairs = list(zip(runs[one], runs[other], strict=True))
    return {
        name: round(float(np.median([a[key] / b[key] for a, b in pairs])), 3)
        for name, key in (("clock", "seconds"), ("cpu", "cpu_seconds"))
    }


def seconds(runs: Runs) -> dict[str, list[float]]:
    """What each step took, from the fastest to the slowest."""
    return {name: sorted(round(run["seconds"], 3) for run in of) for name, of in runs.items()}


def peak(runs: Runs, name: str) -> float:
    """The most memory above idle, MiB."""
    return round(max(run["above_idle_mib"] for run in runs[name]), 1)


def measure_tiff(folder: Path, shape: tuple[int, int, int], objects: int, rounds: int) -> dict:
    """TIFF export against tifffile, and its memory."""
    prepare(folder, shape, objects)
    runs = measured(("imwrite", "export", "export-none"), folder, rounds)
    once = measured(("imwrite-zlib",), folder, 1)
    return {
        "shape": list(shape),
        "tiff_over_imwrite": ratio(runs, "export", "imwrite"),
        "tiff_uncompressed_over_imwrite": ratio(runs, "export-none", "imwrite"),
        "tiff_above_idle_mib": peak(runs, "export"),
        "tiff_uncompressed_above_idle_mib": peak(runs, "export-none"),
        "tiff_seconds": seconds(runs | once),
    }


def measure_table(folder: Path, shape: tuple[int, int, int], objects: int, rounds: int) -> dict:
    """CSV export against scikit-image."""
    prepare(folder, shape, objects)
    runs = measured(("regionprops", "csv-surfaces", "csv"), folder, rounds)
    pairs = zip(runs["csv-surfaces"], runs["regionprops"], strict=True)
    return {
        "table_shape": list(shape),
        "objects": objects,
        "csv_over_regionprops": ratio(runs, "csv-surfaces", "regionprops"),
        "csv_first_in_a_process_over_regionprops": round(
            float(np.median([a["first"] / b["seconds"] for a, b in pairs])), 3
        ),
        "csv_without_surfaces_over_regionprops": ratio(runs, "csv", "regionprops"),
        "csv_above_idle_mib": peak(runs, "csv-surfaces"),
        "same_numbers": same_numbers(folder),
        "csv_seconds": seconds(runs),
    }


@contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    (keep / name).mkdir(parents=True, exist_ok=True)
    yield keep / name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, action="append", help="default: two shapes")
    parser.add_argument("--table-shape", type=int, nargs=3, action="append")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("tiff", "csv"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(step(given.step[0], Path(given.step[1]))))
        return
    for name, run, shapes in (
        ("tiff", measure_tiff, given.shape or SHAPES),
        ("csv", measure_table, given.table_shape or TABLE_SHAPES),
    ):
        for z, y, x in shapes if given.only in (None, name) else ():
            with _folder(given.keep, f"{name}-{z}x{y}x{x}") as folder:
                found = run(folder, (z, y, x), given.objects, given.rounds)
            print(json.dumps({"bench": "export"} | found))


if __name__ == "__main__":
    main()
