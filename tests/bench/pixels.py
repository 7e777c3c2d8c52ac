"""Benchmark `pixels`: classes of voxels from simulated strokes, against forests on filters and on the embedding.

`python tests/bench/pixels.py [SET ...] [--seeds N]` prints one JSON line a set: the mean IoU of the foreground's
classes on what was not drawn on, of volseg's classifier and of two random forests that learn from the same strokes:
one on the filter bank, one on nano's whole embedding. Five strokes of 20 voxels a class, on one slice (the others are
scored) or, of a picture, in one quadrant (the other three are). Only what `split.json` says validates; `--train` takes
what trains instead, to develop on. `--time` measures training on 10,000 voxels and the preview of 512 x 512.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import volseg
from volseg.classify.voxels.classifier import VoxelClassifier
from volseg.classify.voxels.definition import FeatureDefinition
from volseg.classify.voxels.embedded import EmbeddedFeatures, define_embedding
from volseg.classify.voxels.features import VoxelFeatures
from volseg.classify.voxels.samples import Samples, joined, sample
from volseg.classify.voxels.strokes import read_strokes
from volseg.features.filters.bank import FilterBank
from volseg.images.image import Volume
from volseg.models.threads import one_thread
from volseg.pipelines.pixels.inputs import limits_of
from volseg.uncertainty.calibration import calibrated

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
STROKES, LENGTH = 5, 20
SCORED_SLICES = 5


@dataclass(frozen=True)
class Case:
    """Images (z, y, x), all of one kind; classes from 0, the background; the strokes are on the first image."""

    images: list[NDArray[np.uint8]]
    truths: list[NDArray[np.uint8]]


def boundaries(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Voxels beside another label in their slice."""
    found = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        a = np.moveaxis(labels, axis, 0)
        edge = a[1:] != a[:-1]
        view = np.moveaxis(found, axis, 0)
        view[1:] |= edge
        view[:-1] |= edge
    return found.astype(np.uint8)


def _read(path: str) -> NDArray[Any]:
    found = tifffile.imread(DATA / path)
    return found if found.ndim == 3 else found[None]


def _pair(path: str, truth: str, of: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> Case:
    return Case([_read(path)], [of(_read(truth))])


def _objects(labels: NDArray[Any]) -> NDArray[np.uint8]:
    return (labels > 0).astype(np.uint8)


def _sandstone(*names: str) -> Case:
    place = "ct_sandstone/Sandstone_Versa"
    images = [_read(f"{place}{n}.tif") for n in names]
    return Case(images, [_read(f"{place}{n}.semantic.tif").astype(np.uint8) for n in names])


def _fibsem(part: slice) -> Case:
    image, labels = _read("fibsem_medulla/raw.tif"), _read("fibsem_medulla/labels.tif")
    return Case([image[part]], [boundaries(labels[part])])


def _axon(name: str) -> Case:
    path = f"em_axon/{name}"
    return _pair(f"{path}.tif", f"{path}.semantic.tif", lambda a: a.astype(np.uint8))


VALIDATE: dict[str, Callable[[], Case]] = {
    "ovule": lambda: _pair("nuclei_ovule_1136/raw.tif", "nuclei_ovule_1136/labels.tif", _objects),
    "membranes": lambda: _fibsem(slice(105, None)),
    "chloroplasts": lambda: _pair(
        "em_chloroplast/plate2d.tif", "em_chloroplast/plate2d.labels.tif", _objects
    ),
    "axons": lambda: _axon("sub-rat3_ses-02_sample-data11_run-1"),
    "sandstone": lambda: _sandstone("0350", "0400"),
}
TRAIN: dict[str, Callable[[], Case]] = {
    "ovule": lambda: _pair("nuclei_ovule_1135/raw.tif", "nuclei_ovule_1135/labels.tif", _objects),
    "membranes": lambda: _fibsem(slice(0, 20)),
    "axons": lambda: _axon("sub-rat3_ses-01_sample-data9"),
    "sandstone": lambda: _sandstone("0000", "0200"),
}


def strokes_on(truth: NDArray[np.uint8], seed: int) -> NDArray[np.uint32]:
    """Draw strokes (y, x) of class + 1: walks that keep their direction while they stay inside their class."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros(truth.shape, np.uint32)
    for kind in np.unique(truth):
        places = np.argwhere(truth == kind)
        for _ in range(STROKES):
            walk = max((_walk(truth, kind, places, rng) for _ in range(20)), key=len)
            drawn[tuple(np.array(walk).T)] = kind + 1
    return drawn


def _walk(truth: Any, kind: int, places: Any, rng: Any) -> list[tuple[int, int]]:
    at, angle = places[rng.integers(len(places))].astype(float), rng.uniform(0, 2 * np.pi)
    found: dict[tuple[int, int], None] = {}
    for _ in range(4 * LENGTH):
        y, x = (round(v) for v in at)
        if not (0 <= y < truth.shape[0] and 0 <= x < truth.shape[1]) or truth[y, x] != kind:
            break
        found[y, x] = None
        if len(found) == LENGTH:
            break
        angle += rng.normal(0, 0.2)
        at = at + np.array([np.sin(angle), np.cos(angle)])
    return list(found)


def iou(truth: NDArray[Any], found: NDArray[Any]) -> float:
    """Mean over the classes but 0."""
    scores = []
    for kind in range(1, int(truth.max()) + 1):
        a, b = truth == kind, found == kind
        scores.append((a & b).sum() / max(1, (a | b).sum()))
    return float(np.mean(scores))


def calibration_error(truth: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Expected calibration error of the class that is chosen, in 15 bins."""
    said, right = probabilities.max(axis=0), probabilities.argmax(axis=0) == truth
    bins = np.minimum((said * 15).astype(int), 14)
    n = np.bincount(bins, minlength=15)
    gap = np.bincount(bins, said, 15) - np.bincount(bins, right, 15)
    return float(np.abs(gap).sum() / max(1, n.sum()))


def _forest(samples: Samples) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(100, random_state=0, n_jobs=1)
    return forest.fit(samples.features, samples.classes - 1)


class Looked:
    """A volume with its features: volseg's, and the whole embedding."""

    def __init__(self, volume: Volume, definition: FeatureDefinition, everything: bool) -> None:
        limits = limits_of(volume, 0, 0, (0,))
        how: dict[str, Any] = {"level": 0, "time": 0, "channels": (0,), "limits": limits}
        self.definition = definition
        self.ours = VoxelFeatures(volume, definition, **how)
        self.embedding: EmbeddedFeatures | None = None
        if everything:
            whole = definition.embedding
            assert whole is not None
            self.embedding = EmbeddedFeatures.of(
                volume, whole.model_copy(update={"dense_sha256": None, "maps": ()}), **how
            )
            channels = self.embedding._projection.shape[1]
            self.embedding._projection = np.eye(channels, dtype=np.float32)

    def of_slice(self, z: int, rows: Any, columns: Any) -> NDArray[np.float32]:
        """Return ours, then all channels of the embedding."""
        parts = [self.ours.of_slice(z, rows, columns)]
        if self.embedding is not None:
            parts.append(self.embedding.of_slice(z, rows, columns))
        return np.concatenate(parts)


@dataclass(frozen=True)
class _Wide:
    names: range


def measure(case: Case, seed: int, folder: Path) -> dict[str, float]:
    """Train the three on the same strokes, and score them."""
    volumes = []
    for i, image in enumerate(case.images):
        url = folder / f"{i}.zarr"
        made = (
            volseg.create_volume(
                url,
                axes="zyx",
                shape=image.shape,
                dtype=image.dtype,
                scale_um=(1, 1, 1),
                overwrite=True,
            )
            if not url.exists()
            else volseg.open(url)
        )
        if seed == 0:
            grid = made.levels[0].grid
            for region in grid.blocks():
                (a, b), (c, d), (e, f) = region
                volseg.images.image.open_volume(url, writable=True).write(
                    region, image[a:b, c:d, e:f]
                )
        volumes.append(made)
    truth, (depth, height, width) = case.truths[0], case.images[0].shape
    middle = depth // 2
    drawn_on = truth[middle]
    if depth == 1 and len(volumes) == 1:
        drawn_on = drawn_on[: height // 2, : width // 2]
    strokes = np.zeros(truth.shape, np.uint32)
    strokes[middle, : drawn_on.shape[0], : drawn_on.shape[1]] = strokes_on(drawn_on, seed)
    name = f"s{seed}"
    labels = volumes[0].create_labels(name, classes={}, overwrite=True)
    for region in labels.grid.blocks():
        (a, b), (c, d), (e, f) = region
        labels.write_objects(region, strokes[a:b, c:d, e:f])
    definition = FeatureDefinition(
        channels=1, bank=FilterBank(), neighbours=depth > 1, embedding=define_embedding("nano")
    )
    looked = [Looked(v, definition, True) for v in volumes]
    count = len(definition.names)
    embedding = looked[0].embedding
    assert embedding is not None
    wide = _as_features(looked[0], count + len(embedding._projection))
    everything = joined([sample(read_strokes(labels), wide, 0)])
    ours = Samples(everything.features[:, :count], everything.classes, everything.strokes)
    filters = sum("embedding" not in n and "map" not in n for n in definition.names)
    alone = Samples(everything.features[:, :filters], everything.classes, everything.strokes)
    embedded = Samples(everything.features[:, count:], everything.classes, everything.strokes)
    started = time.perf_counter()
    classifier = calibrated(VoxelClassifier.train(ours, definition, {}), ours)
    seconds = time.perf_counter() - started
    without = FeatureDefinition(channels=1, bank=FilterBank(), neighbours=depth > 1)
    plain = VoxelClassifier.train(alone, without, {})
    forests = _forest(alone), _forest(embedded)
    truths, found = [], []
    for part, here, true in _scored(case, looked):
        z, rows, columns = part
        planes = here.of_slice(z, rows, columns)
        flat = planes.reshape(len(planes), -1).T
        mine = classifier.probabilities(planes[:count]).reshape(len(classifier.numbers), -1)
        small = plain.probabilities(planes[:filters]).reshape(len(plain.numbers), -1)
        truths.append(true[z, slice(*rows), slice(*columns)].ravel())
        found.append([
            mine, small.argmax(axis=0),
            forests[0].predict(flat[:, :filters]), forests[1].predict(flat[:, count:]),
        ])  # fmt: skip
    whole = np.concatenate(truths)
    mine = np.concatenate([f[0] for f in found], axis=1)
    result = {
        "volseg": iou(whole, mine.argmax(axis=0)),
        "calibration": calibration_error(whole, mine),
    }
    for i, called in ((1, "volseg filters"), (2, "forest filters"), (3, "forest embedding")):
        result[called] = iou(whole, np.concatenate([f[i] for f in found]))
    return result | {"train_s": seconds, "temperature": classifier.temperature}


def _as_features(looked: Looked, count: int) -> Any:
    class Both:
        definition = _Wide(range(count))
        of_slice = staticmethod(looked.of_slice)

    return Both()


def _scored(case: Case, looked: list[Looked]) -> Any:
    depth, height, width = case.images[0].shape
    whole = (0, height), (0, width)
    if len(looked) > 1:
        for here, true in zip(looked[1:], case.truths[1:], strict=True):
            yield (0, *whole), here, true
    elif depth == 1:
        y, x = height // 2, width // 2
        for rows, columns in (
            ((0, y), (x, width)),
            ((y, height), (0, x)),
            ((y, height), (x, width)),
        ):
            yield (0, rows, columns), looked[0], case.truths[0]
    else:
        others = [z for z in range(depth) if z != depth // 2]
        for z in np.unique(np.linspace(0, len(others) - 1, SCORED_SLICES).round().astype(int)):
            yield (others[z], *whole), looked[0], case.truths[0]


def times() -> dict[str, float]:
    """Seconds to train on 10,000 voxels of three classes; also live, and to classify 512 x 512 of features then.

    Seconds of the clock, and of the processor, which other work beside this does not stretch.
    """
    definition = FeatureDefinition(
        channels=1, bank=FilterBank(), neighbours=True, embedding=define_embedding("nano")
    )
    rng, count = np.random.default_rng(0), len(definition.names)
    features = rng.normal(size=(10_000, count)).astype(np.float32)
    classes = np.digitize(features[:, 0] + features[:, 5], (-1, 1)) + 1
    samples = Samples(features, classes, np.repeat(np.arange(500), 20))
    planes = rng.normal(size=(count, 512, 512)).astype(np.float32)
    classifier = VoxelClassifier.train(samples, definition, {}, live=True)
    works: dict[str, Callable[[], object]] = {
        "train_10000": lambda: VoxelClassifier.train(samples, definition, {}),
        "train_10000_live": lambda: VoxelClassifier.train(samples, definition, {}, live=True),
        "preview_512": lambda: classifier.probabilities(planes, threads=2),
    }
    found = {}
    for name, work in works.items():
        clock, processor = time.perf_counter(), time.process_time()
        work()
        found[f"{name}_s"] = round(time.perf_counter() - clock, 2)
        found[f"{name}_cpu_s"] = round(time.process_time() - processor, 2)
    return found


def main() -> None:
    """Print a JSON line a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    if given.time:
        print(json.dumps({"bench": "pixels", **times()}), flush=True)
        return
    sets = TRAIN if given.train else VALIDATE
    for name in given.sets or sets:
        case = sets[name]()
        with tempfile.TemporaryDirectory() as folder, one_thread():
            runs = [measure(case, seed, Path(folder)) for seed in range(given.seeds)]
        mean = {key: round(float(np.mean([r[key] for r in runs])), 3) for key in runs[0]}
        best = max(mean["forest filters"], mean["forest embedding"])
        line = {"bench": "pixels", "set": name, "seeds": given.seeds, **mean}
        print(json.dumps(line | {"gain": round(mean["volseg"] - best, 3)}), flush=True)


if __name__ == "__main__":
    main()
