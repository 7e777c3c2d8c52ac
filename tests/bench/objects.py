"""Benchmark `objects`: classes of objects learned from a few labels, beside what peers do with the same labels.

`python tests/bench/objects.py [discs] [infected] [debris] [real] [network] [million] [features] [margin]` prints one
JSON line each; all without an argument. Generated sets are made anew from seeds. On real ones classifiers learn from
pictures that train and are scored on those that validate (`split.json`). The peer's recipe is a random forest of 100
trees on area and mean brightness, on real pictures on area and the mean embedding.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.discs import Scene, debris, infected_cells, textured_discs
from volseg.classify.objects import network
from volseg.classify.objects.training import Samples, learn, names_of
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.measurement.definition import FeatureDefinition
from volseg.measurement.table import FeatureRows, FeatureTable, write_table
from volseg.pipelines.objects import FeatureOptions, measure

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SPINE = {
    **dict.fromkeys((1, 3, 4, 9, 12, 13, 14), "vertebra"),
    **dict.fromkeys((2, 5, 7, 8, 10, 11, 15), "disc"),
    6: "canal",
}
"""The kinds of `mr_spine`, whose picture of classes numbers each vertebra and each disc."""
SETS = ("mr_spine", "mr_heart", "photo_concrete", "ct_heart")


def forest(values: Any, classes: Any, more: Any) -> NDArray[np.int64]:
    """What a random forest says of `more`, having learned from values (n, features) and classes (n,)."""
    from sklearn.ensemble import RandomForestClassifier

    trees = RandomForestClassifier(100, random_state=0).fit(np.nan_to_num(values), classes)
    found: NDArray[np.int64] = trees.predict(np.nan_to_num(more))
    return found


def balanced_accuracy(found: Any, truth: Any) -> float:
    """Mean over the classes of the share that was found."""
    return float(np.mean([(found[truth == one] == one).mean() for one in np.unique(truth)]))


def measured(volume: Volume, name: str, **options: Any) -> tuple[FeatureRows, FeatureDefinition]:
    found = measure(volume, name, FeatureOptions.of(**options))
    return found.table.rows(), found.plan.definition


def samples(
    rows: FeatureRows, classes: Any, names: tuple[str, ...], chosen: Any, images: Any = None
) -> Samples:
    where = np.zeros(len(classes), np.int64) if images is None else images
    return Samples(
        rows.values[chosen], classes[chosen], names, where[chosen], rows.centroids[chosen]
    )


def generated(
    make: Callable[[int], Scene], labels: int, seeds: int, score: Callable[..., float]
) -> dict[str, Any]:
    """Scores over seeds of ours, and of a forest on area and mean brightness."""
    ours, peer, kinds = [], [], []
    for seed in range(seeds):
        scene = make(seed)
        with tempfile.TemporaryDirectory() as folder:
            rows, definition = measured(scene.write(f"{folder}/v.zarr"), "cells")
        names, classes = names_of(scene.classes)
        order = np.random.default_rng(seed).permutation(len(classes))
        given, rest = order[:labels], order[labels:]
        learned = learn(samples(rows, classes, names, given))
        found = learned.probabilities(rows.values[rest]).argmax(axis=1)
        plain = [
            at
            for at, n in enumerate(definition.names)
            if n == "area" or n.startswith("intensity_mean")
        ]
        other = forest(rows.values[given][:, plain], classes[given], rows.values[rest][:, plain])
        ours.append(round(score(found, classes[rest], names), 5))
        peer.append(round(score(other, classes[rest], names), 5))
        kinds.append(learned.family)
    return {
        "volseg": ours,
        "mean": float(np.mean(ours)),
        "forest": peer,
        "forest_mean": float(np.mean(peer)),
        "kinds": kinds,
    }


def accuracy(found: Any, truth: Any, names: tuple[str, ...]) -> float:
    return float((found == truth).mean())


def error(found: Any, truth: Any, names: tuple[str, ...]) -> float:
    return 1 - accuracy(found, truth, names)


def f1_of_cells(found: Any, truth: Any, names: tuple[str, ...]) -> float:
    cell = names.index("cell")
    hit = ((found == cell) & (truth == cell)).sum()
    return float(2 * hit / ((found == cell).sum() + (truth == cell).sum()))


def bench_discs() -> dict[str, Any]:
    return {"what": "errors of 245 discs of two textures, 100 labels"} | generated(
        textured_discs, 100, 6, error
    )


def bench_infected() -> dict[str, Any]:
    return {"what": "accuracy of 145 cells, 100 labels"} | generated(
        infected_cells, 100, 6, accuracy
    )


def bench_debris() -> dict[str, Any]:
    return {"what": "F1 of cells among 16,671 objects, 200 labels"} | generated(
        debris, 200, 1, f1_of_cells
    )


def pictures(name: str) -> Iterator[tuple[str, bool, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Name, whether it validates, picture, instances and classes of each picture of a set."""
    rule = json.loads((DATA / "split.json").read_text())[name]["validate"]
    patterns = [rule] if isinstance(rule, str) else rule
    for file in sorted((DATA / name).glob("*.semantic.tif")):
        stem = file.name.removesuffix(".semantic.tif")
        validates = any(fnmatch(stem, pattern) for pattern in patterns)
        image, labels = (
            tifffile.imread(DATA / name / f"{stem}{end}") for end in (".tif", ".labels.tif")
        )
        yield stem, validates, image, labels, tifffile.imread(file)


def as_volume(place: str, image: NDArray[Any], labels: NDArray[Any]) -> Volume:
    """A picture (y, x) or (y, x, 3) as a volume of one slice with the label image ``cells``."""
    planes = image[None] if image.ndim == 2 else np.moveaxis(image[..., :3], -1, 0)
    shape = (len(planes), 1, *labels.shape)
    volume = create_volume(
        place, axes="czyx", shape=shape, dtype=str(planes.dtype), scale_um=(1, 1, 1)
    )
    whole = ((0, 1), (0, labels.shape[0]), (0, labels.shape[1]))
    for channel, plane in enumerate(planes):
        volume.write(whole, np.ascontiguousarray(plane[None]), channel=channel)
    volume.create_labels("cells").write_objects(whole, labels[None].astype(np.uint32))
    return open_volume(place)


def real_set(
    name: str,
) -> tuple[FeatureRows, FeatureDefinition, NDArray[np.str_], NDArray[np.bool_], NDArray[np.int64]]:
    """Rows of all objects, their definition and classes, whether each validates, and its picture."""
    parts, classes, held, images = [], [], [], []
    groups = SPINE if name == "mr_spine" else {}
    definition: FeatureDefinition | None = None
    with tempfile.TemporaryDirectory() as folder:
        for at, (stem, validates, image, labels, semantic) in enumerate(pictures(name)):
            volume = as_volume(f"{folder}/{stem}.zarr", image, labels)
            rows, definition = measured(volume, "cells", embedding="nano", zoom=0.5)
            parts.append(rows)
            for one in rows.ids.tolist():
                kinds, counts = np.unique(semantic[labels == one], return_counts=True)
                kind = int(kinds[counts.argmax()])
                classes.append(groups.get(kind, str(kind)))
            held += [validates] * len(rows)
            images += [at] * len(rows)
    assert definition is not None
    return (
        FeatureRows.joined(parts),
        definition,
        np.array(classes),
        np.array(held),
        np.array(images, np.int64),
    )


def bench_real(seeds: int = 5) -> dict[str, Any]:
    """Balanced accuracy on the pictures that validate, 5 and 20 labels a class from those that train."""
    told: dict[str, Any] = {"what": "balanced accuracy of real classes, labels a class"}
    for name in SETS:
        rows, definition, classes, held, images = real_set(name)
        shared = sorted(set(classes[held].tolist()) & set(classes[~held].tolist()))
        usable = np.isin(classes, shared)
        names, index = names_of([c if c in shared else shared[0] for c in classes.tolist()])
        plain = [
            at
            for at, n in enumerate(definition.names)
            if n == "area" or n.startswith("embedding_mean")
        ]
        truth = np.flatnonzero(held & usable)
        for count in (5, 20):
            ours, peer = [], []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                given = np.concatenate(
                    [
                        rng.permutation(np.flatnonzero(~held & usable & (index == one)))[:count]
                        for one in range(len(names))
                    ]
                )
                learned = learn(samples(rows, index, names, given, images))
                found = learned.probabilities(rows.values[truth]).argmax(axis=1)
                other = forest(
                    rows.values[given][:, plain], index[given], rows.values[truth][:, plain]
                )
                ours.append(balanced_accuracy(found, index[truth]))
                peer.append(balanced_accuracy(other, index[truth]))
            told[f"{name}-{count}"] = {
                "classes": len(names), "volseg": round(float(np.mean(ours)), 4), "peer": round(float(np.mean(peer)), 4),
            }  # fmt: skip
    return told


def bench_network() -> dict[str, Any]:
    """Seconds of 500 epochs on 100 patches of 32 x 32, one thread."""
    patches = np.random.default_rng(0).normal(size=(100, 2, 1, 32, 32)).astype(np.float32)
    start = time.perf_counter()
    network.fit(patches, np.arange(100) % 2, 2, {"epochs": 500})
    return {
        "what": "500 epochs, 100 patches of 32 x 32",
        "seconds": round(time.perf_counter() - start, 1),
    }


def bench_million(count: int = 1_000_000) -> dict[str, Any]:
    """Seconds to classify a million objects from a stored table."""
    definition = FeatureDefinition(flat=False, channels=(0,), ring=3)
    rng = np.random.default_rng(0)
    width = len(definition.names)

    def parts() -> Iterator[FeatureRows]:
        for start in range(0, count, 50_000):
            ids = np.arange(start + 1, start + 50_001)
            values = rng.normal(size=(50_000, width)).astype(np.float32)
            yield FeatureRows(ids * 0, ids, rng.random((50_000, 3)), ids, values)

    data = write_table(parts(), definition, "")
    classes = (rng.random(300) < 0.5).astype(np.int64)
    values = rng.normal(size=(300, width)).astype(np.float32) + classes[:, None]
    places = rng.random((300, 3))
    told: dict[str, Any] = {"what": f"{count} objects classified from a table"}
    for kind in ("logistic", "trees"):
        learned = learn(Samples(values, classes, ("a", "b"), classes * 0, places), kind)
        start = time.perf_counter()
        done = sum(
            len(learned.probabilities(part.values)) for part in FeatureTable(data, "table").parts()
        )
        told[f"{kind}_seconds"] = round(time.perf_counter() - start, 1)
        assert done == count
    return told


def bench_features() -> dict[str, Any]:
    """Seconds to measure a volume with one channel, over those to read its voxels and labels."""
    shape = (16, 512, 512)
    rng = np.random.default_rng(0)
    cells = np.kron(np.arange(1, 4 * 32 * 32 + 1).reshape(4, 32, 32), np.ones((4, 16, 16))).astype(
        np.uint32
    )
    inside = np.kron(np.ones((4, 32, 32)), np.pad(np.ones((3, 11, 11)), ((0, 1), (2, 3), (2, 3))))
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/v.zarr"
        volume = create_volume(place, axes="zyx", shape=shape, dtype="uint8", scale_um=(1, 1, 1))
        whole = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
        volume.write(whole, rng.integers(0, 255, shape, np.uint8))
        volume.create_labels("cells").write_objects(whole, cells * inside.astype(np.uint32))
        start = time.perf_counter()
        volume.read(whole), volume.labels["cells"].read(whole)
        read = time.perf_counter() - start
        start = time.perf_counter()
        measure(volume, "cells", cluster=None)
        spent = time.perf_counter() - start
    return {
        "what": "features over reading",
        "read_s": round(read, 2),
        "measure_s": round(spent, 2),
        "times": round(spent / read, 1),
    }


def bench_margin(seeds: int = 8, first: int = 10, step: int = 5, last: int = 60) -> dict[str, Any]:
    """Area under balanced accuracy by label, labels by smallest margin against random ones."""
    ahead, behind, told = 0, 0, {}
    for name, make in (("discs", textured_discs), ("infected", infected_cells)):
        scene = make(100)
        with tempfile.TemporaryDirectory() as folder:
            rows, _ = measured(scene.write(f"{folder}/v.zarr"), "cells")
        names, classes = names_of(scene.classes)
        gains = []
        for seed in range(seeds):
            areas = [
                _curve(rows, classes, names, seed, how, (first, step, last))
                for how in ("margin", "random")
            ]
            gains.append(areas[0] - areas[1])
        ahead += sum(g > 0 for g in gains)
        behind += sum(g < 0 for g in gains)
        told[name] = round(float(np.mean(gains)), 4)
    from scipy.stats import binomtest

    p = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    return {
        "what": "margin against random",
        "gains": told,
        "ahead": ahead,
        "behind": behind,
        "sign_test_p": round(p, 5),
    }


def _curve(
    rows: FeatureRows,
    classes: Any,
    names: tuple[str, ...],
    seed: int,
    how: str,
    steps: tuple[int, int, int],
) -> float:
    first, step, last = steps
    order = np.random.default_rng(seed).permutation(len(classes))
    test, pool = order[: len(order) // 2], order[len(order) // 2 :].tolist()
    given, pool = pool[:first], pool[first:]
    scores = []
    while True:
        present = np.unique(classes[given])
        if len(present) < 2:
            scores.append(1 / len(names))
            probabilities = None
        else:
            learned = learn(samples(rows, classes, names, np.array(given)), "logistic")
            probabilities = learned.probabilities
            scores.append(
                balanced_accuracy(probabilities(rows.values[test]).argmax(1), classes[test])
            )
        if len(given) >= last:
            return float(np.mean(scores))
        if how == "margin" and probabilities is not None:
            ranked = np.sort(probabilities(rows.values[pool]), axis=1)
            best = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable").tolist()
            pool = [pool[at] for at in best]
        given, pool = given + pool[:step], pool[step:]


def main() -> None:
    known = {
        name.removeprefix("bench_"): make
        for name, make in globals().items()
        if name.startswith("bench_")
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", choices=[[], *known], default=[])
    for name in parser.parse_args().which or known:
        start = time.perf_counter()
        found = known[name]()
        print(
            json.dumps(
                {
                    "bench": f"objects-{name}",
                    **found,
                    "bench_s": round(time.perf_counter() - start, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
