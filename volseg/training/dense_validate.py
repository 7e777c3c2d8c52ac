"""Scores of the dense model on what never trained: separate nuclei of pictures, and foreground of a volume.

``python -m volseg.training.dense --validate`` prints them.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volseg.errors import NotThereError
from volseg.evaluation.contingency import Contingency
from volseg.evaluation.overlap import mean_average_precision, overlaps
from volseg.models.dense import DenseModel, Place
from volseg.models.download import sha256_of
from volseg.models.nano import dense
from volseg.models.nano.dense_network import DenseNetwork
from volseg.models.registry import load_model
from volseg.models.threads import one_thread
from volseg.predict.dense_objects import WatershedSettings
from volseg.predict.dense_slices import Encoder, objects_of, slice_maps, slice_objects
from volseg.training.pictures import entries, read_picture, rendered
from volseg.training.provenance import RECORD
from volseg.training.sets import data_set
from volseg.training.split import Half

Picture = tuple[NDArray[np.uint8], NDArray[np.int32]]
PICTURES, UNSEEN = "nuclei_dsb2018", "nuclei_ovule_1136"


def pictures(root: Path, half: Half, every: int = 1) -> Iterator[Picture]:
    """Yield pictures of nuclei as volseg renders them, uint8 (y, x) or (y, x, 3), with labels (y, x).

    Parameters
    ----------
    root : Path
        The folder of real data.
    half : str
        "train" or "validate".
    every : int
        Only each so many of them.
    """
    declared = data_set(PICTURES)
    for entry in entries(root, declared, half)[::every]:
        picture = read_picture(declared, entry)
        yield rendered(picture.pixels), picture.labels.astype(np.int32)


def msa(found: NDArray[np.int32], truth: NDArray[np.int32]) -> float:
    """Compute TP / (TP + FP + FN), averaged over the IoU thresholds .5, .55 … .95 (Caicedo et al. 2019)."""
    return mean_average_precision(overlaps(Contingency.of(truth, found)))


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Compute the IoU of two masks; 1 where both are empty."""
    either = int((found | truth).sum())
    return int((found & truth).sum()) / either if either else 1.0


def score_pictures(
    model: DenseModel, encoder: Encoder, shown: Sequence[Picture], settings: WatershedSettings
) -> dict[str, float]:
    """Score separate objects: the mean over pictures of `msa`, of that at IoU .5, and of foreground's IoU."""
    rows = []
    for pixels, truth in shown:
        labels, _ = slice_objects(model, encoder, pixels, settings)
        pairs = overlaps(Contingency.of(truth, labels))
        rows.append((
            mean_average_precision(pairs), mean_average_precision(pairs, (0.5,)),
            iou(labels > 0, truth > 0),
        ))  # fmt: skip
    means = np.mean(rows, axis=0)
    return {
        "pictures": len(rows),
        "mSA": round(float(means[0]), 4),
        "AP at .5": round(float(means[1]), 4),
        "foreground IoU": round(float(means[2]), 4),
    }


def score_volume(
    model: DenseModel, encoder: Encoder, root: Path, threshold: float, every: int = 4
) -> dict[str, float]:
    """Score the foreground of a volume that never trains: IoU over all its voxels together, of each so many slices."""
    declared = data_set(UNSEEN)
    index = model.spec.index("foreground")
    both = either = slices = 0
    for entry in entries(root, declared, "validate"):
        for pixels, labels in read_picture(declared, entry).planes(every):
            found = slice_maps(model, encoder, pixels)[index] >= threshold
            both += int((found & (labels > 0)).sum())
            either += int((found | (labels > 0)).sum())
            slices += 1
    return {"slices": slices, "foreground IoU": round(both / either, 4)}


def choose_settings(
    model: DenseModel,
    encoder: Encoder,
    shown: Sequence[Picture],
    candidates: Sequence[WatershedSettings],
) -> tuple[WatershedSettings, float]:
    """Choose the settings with the best mean `msa` over pictures, which must be ones that train."""
    totals = np.zeros(len(candidates))
    for pixels, truth in shown:
        _, maps = slice_objects(model, encoder, pixels)
        totals += [msa(objects_of(model, maps, one), truth) for one in candidates]
    best = int(totals.argmax())
    return candidates[best], float(totals[best]) / len(shown)


def grid(start: WatershedSettings) -> list[WatershedSettings]:
    """The settings that `choose_settings` tries."""
    return [
        replace(start, foreground=foreground, prominence=prominence, boundary=boundary, confidence=confidence)
        for foreground, prominence, boundary, confidence in itertools.product(
            (0.4, 0.5, 0.6), (0.03, 0.06, 0.1), (0.0, 0.5), (0.5, 0.7, 0.8)
        )
    ]  # fmt: skip


def timing(model: dense.NanoDenseModel, repeats: int = 15) -> dict[str, float]:
    """Measure milliseconds of CPU time on one core: a tile, and a further slice with its affinities."""
    with one_thread():
        size, embedding = model.spec.img_size, model.spec.embedding
        pixels = np.zeros((2, 3, size, size), np.uint8)
        known = np.zeros((2, *embedding), np.float16)
        place = Place(0, 0, 0, size)
        one = _median_ms(lambda: model.maps(pixels[:1], known[:1], place), repeats)
        two = _median_ms(lambda: model.maps(pixels, known, place), repeats)
        return {"tile ms": one, "next slice ms": round(two - one, 1)}


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return round(1000 * float(np.median(times)), 1)


def validate(model: dense.NanoDenseModel, root: Path, device: str = "cpu") -> dict[str, Any]:
    """Measure the dense model.

    Parameters
    ----------
    model : NanoDenseModel
        What is measured.
    root : Path
        The folder of real data.
    device : str
        Where the encoder lives.

    Returns
    -------
    dict
        ``"nuclei_dsb2018"`` and ``"nuclei_ovule_1136"``: scores; ``"settings"`` of the watershed; ``"cpu"``:
        milliseconds on one core.
    """
    encoder = load_model(model.spec.name, device=device)
    model.spec.check_parent(encoder.spec)
    settings = WatershedSettings()
    return {
        PICTURES: score_pictures(model, encoder, list(pictures(root, "validate")), settings),
        UNSEEN: score_volume(model, encoder, root, settings.foreground),
        "settings": asdict(settings),
        "cpu": timing(model) if device == "cpu" else {},
    }


def choose(checkpoint: Path | None, root: Path, device: str, every: int = 9) -> None:
    """Print the watershed's settings that are best on pictures that train, for `WatershedSettings` to hold."""
    model = opened(checkpoint, device)
    encoder = load_model(model.spec.name, device=device)
    model.spec.check_parent(encoder.spec)
    shown = list(pictures(root, "train", every))
    settings, score = choose_settings(model, encoder, shown, grid(WatershedSettings()))
    print(f"mSA {score:.4f} over {len(shown)} pictures that train: {settings}")


def opened(checkpoint: Path | None, device: str) -> dense.NanoDenseModel:
    """Open the model of a training's checkpoint, or the package's."""
    return from_checkpoint(checkpoint, device) if checkpoint else dense.load(device)


def from_checkpoint(path: Path, device: str | torch.device = "cpu") -> dense.NanoDenseModel:
    """Read the averaged model out of a training's checkpoint; its weights' digest is the checkpoint's.

    ``training.json`` beside it names the parent.

    Raises
    ------
    NotThereError
        There is no checkpoint.
    """
    if not path.exists():
        raise NotThereError(f"no checkpoint at {path}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    network = DenseNetwork()
    network.load_state_dict(content["average"])
    record = json.loads(path.with_name(RECORD).read_text())
    parent = dense.Parent(**record["parent"])
    return dense.NanoDenseModel(network, sha256_of(path), parent, device)


def report(checkpoint: Path | None, root: Path, device: str, to: Path | None) -> None:
    """Print the scores of a checkpoint, or of the package's weights, and write them to a file too if one is given."""
    model = opened(checkpoint, device)
    scores = validate(model, root, device)
    text = json.dumps(scores, indent=1)
    print(text)
    if to is not None:
        to.write_text(text + "\n")
