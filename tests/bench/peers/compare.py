"""volseg's propagation against micro-sam's: the same `nano`, embeddings, seeds and volume.

`python tests/bench/peers/compare.py --environment DIR [VOLUME ...]` prints one JSON line. What
README.md beside this file says of the environment is done where DIR holds none yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.peak import peak_mib  # noqa: E402
from tests.bench.real import DATA, LEAST, PlainSamPredictor, points_of  # noqa: E402

PROJECTIONS = ("single_point", "points", "box")
THRESHOLDS = (0.5, 0.8)


def python_of(environment: Path) -> Path:
    """The interpreter of micro-sam's environment, made where there is none."""
    python = environment / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "micro-sam>=1.8"], check=True)
    return python


def make_task(name: str, path: Path, weights: Path | None) -> dict[str, Any]:
    """Embeddings, seeds and truth of a volume; all but the truth go to `path` too."""
    from volseg.models.nano import load
    from volseg.models.spec import IOU_SCORES
    from volseg.propagation import Context, Settings, seed_masks

    raw = tifffile.imread(DATA / name / "raw.tif")
    labels = tifffile.imread(DATA / name / "labels.tif")
    predictor = PlainSamPredictor(load(folder=weights), raw)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    ids = [int(i) for i, n in zip(ids, counts, strict=True) if n >= LEAST]
    prompts = {i: points_of(labels == i, "one") for i in ids}
    found = seed_masks(predictor, prompts, Settings(**IOU_SCORES), context=Context(prompts))
    seeds, kept = {}, []
    for i in ids:
        ((z, (mask, _)),) = found[i].items()
        if mask.area:
            seeds[i] = {z: mask.full(raw.shape[1:])}
            kept.append(i)
    features = np.stack([predictor.features(z) for z in range(len(raw))])
    np.savez(
        path,
        features=features,
        input_size=predictor.sam.input_size,
        original_size=predictor.sam.original_size,
        shape=raw.shape,
        seed_z=[next(iter(seeds[i])) for i in kept],
        seeds=np.stack([next(iter(seeds[i].values())) for i in kept]),
    )
    return {"predictor": predictor, "seeds": seeds, "labels": labels, "ids": ids, "kept": kept,
            "prompts": prompts}  # fmt: skip


def dice(mask: np.ndarray, body: np.ndarray) -> float:
    """3D Dice of two boolean volumes."""
    return float(2 * (mask & body).sum() / max(1, int(mask.sum()) + int(body.sum())))


def ours(task: dict[str, Any], with_marks: bool) -> dict[str, Any]:
    """volseg's figures; without marks an object knows nothing of the others."""
    from volseg.models.spec import IOU_SCORES
    from volseg.propagation import Settings, propagate

    predictor, settings = task["predictor"], Settings(**IOU_SCORES)
    before, decodes = time.process_time(), predictor.decodes
    if with_marks:
        tracks = propagate(predictor, task["seeds"], settings, prompts=task["prompts"])
    else:
        tracks = {}
        for i, seed in task["seeds"].items():
            tracks |= propagate(predictor, {i: seed}, settings)
    seconds = time.process_time() - before
    scores = []
    for i in task["ids"]:
        body, mask = task["labels"] == i, np.zeros(task["labels"].shape, bool)
        for z in tracks[i].slices if i in tracks else ():
            mask[z] = tracks[i].mask(z)
        scores.append(dice(mask, body))
    slices = sum(len(track) - 1 for track in tracks.values())
    return {
        "dice": round(float(np.mean(scores)), 3),
        "ms_per_object_and_slice": round(1e3 * seconds / max(1, slices), 1),
        "decodes": predictor.decodes - decodes,
        "peak_mib": round(peak_mib(), 1),
    }


def theirs(
    python: Path, task: dict[str, Any], path: Path, weights: Path | None, how: tuple[str, float]
) -> dict[str, Any]:
    """micro-sam's figures with one projection and one threshold."""
    result = path.with_name("result.npz")
    command = [str(python), str(HERE / "microsam.py"), str(path), str(result)]
    command += ["--projection", how[0], "--threshold", str(how[1])]
    if weights is not None:
        command += ["--weights", str(weights)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    stored = np.load(result)
    figures = json.loads(str(stored["figures"]))
    shape, scores = task["labels"].shape, {}
    for i, bits in zip(task["kept"], stored["masks"], strict=True):
        mask = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
        scores[i] = dice(mask, task["labels"] == i)
    return {
        "dice": round(float(np.mean([scores.get(i, 0.0) for i in task["ids"]])), 3),
        "ms_per_object_and_slice": round(1e3 * figures["cpu_seconds"] / figures["slices"], 1),
        "peak_mib": round(figures["peak_mib"], 1),
        "failed": figures["failed"],
        "version": figures["version"],
    }


def overall(volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the bodies of all volumes: with one setting of micro-sam for all, as a person has it."""
    counts = np.array([volume["objects"] for volume in volumes])

    def mean(scores: list[float]) -> float:
        return round(float(np.average(scores, weights=counts)), 3)

    runs = {
        name: mean([volume["micro-sam"][name].get("dice", 0.0) for volume in volumes])
        for name in volumes[0]["micro-sam"]
    }
    found = mean([volume["volseg"]["dice"] for volume in volumes])
    margin = round(found - max(runs.values(), default=0.0), 3)
    return {"objects": int(counts.sum()), "volseg": found, "micro-sam": runs, "margin": margin}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=["nuclei_ovule_1136"])
    parser.add_argument("--environment", type=Path, help="folder of micro-sam's environment")
    parser.add_argument("--python", type=Path, help="an interpreter that has micro-sam already")
    parser.add_argument("--weights", type=Path, help="folder of another nano's weights")
    parser.add_argument(
        "--runs",
        nargs="*",
        default=[f"{projection}:{limit}" for projection in PROJECTIONS for limit in THRESHOLDS],
        help="micro-sam's, PROJECTION:THRESHOLD each",
    )
    options = parser.parse_args()
    if options.python is None and options.environment is None:
        parser.error("give --environment, a folder outside the repository, or --python")
    import torch

    torch.set_num_threads(1)
    python = options.python or python_of(options.environment.expanduser().absolute())
    out: dict[str, Any] = {"benchmark": "peers", "peer": "micro-sam", "target": {"margin": 0.10}}
    for name in options.volumes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "task.npz"
            task = make_task(name, path, options.weights)
            runs = {}
            for given in options.runs:
                projection, _, limit = given.partition(":")
                how = projection, float(limit)
                runs[given] = theirs(python, task, path, options.weights, how)
                print(f"micro-sam, {given}: {runs[given]}", file=sys.stderr, flush=True)
        best = max((run.get("dice", 0.0) for run in runs.values()), default=0.0)
        alone, together = ours(task, False), ours(task, True)
        print(f"volseg: {together}; alone: {alone}", file=sys.stderr, flush=True)
        out[name] = {
            "objects": len(task["ids"]),
            "volseg": together,
            "volseg, each object alone": alone,
            "micro-sam": runs,
            "margin": round(together["dice"] - best, 3),
            "margin, each object alone": round(alone["dice"] - best, 3),
        }
    out["all"] = overall([out[name] for name in options.volumes])
    print(json.dumps(out))


if __name__ == "__main__":
    main()
