"""Print how well ``nano`` segments objects it never saw: ``python -m volseg.training.validate``.

Kinds are the sets of ``split.json`` that validate, and count alike in the mean however many objects
they have. ``--folds DIR`` measures trainings that left out whole families of kinds, each on the kinds
that it never saw; ``--clicks`` adds corrective clicks and loose boxes; ``--json`` writes the record
that ``python -m volseg.training.card`` makes the model card from.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from volseg.errors import InputError, NotThereError
from volseg.models import nano
from volseg.models.nano import versions
from volseg.models.threads import one_thread
from volseg.training.cases import conditions, kinds
from volseg.training.checkpoints import from_checkpoint
from volseg.training.corrections import COLUMNS as CORRECTIONS
from volseg.training.corrections import measure_corrections
from volseg.training.figures import write_figures
from volseg.training.scores import MEAN, Row, by_size, lowest_rank, mean_row, measure, table
from volseg.training.sets import FAMILIES

logger = logging.getLogger(__name__)


def _median_ms(work: Callable[[], object], repeats: int = 7) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(1000 * float(np.median(times)), 1)


@torch.inference_mode()
def timings(sam: Sam) -> dict[str, float]:
    """Measure CPU milliseconds on one core: an image, a prompt, and a prompt in a batch of 16."""
    sam = copy.deepcopy(sam).cpu()  # CPU time says nothing about other devices
    with one_thread():
        image = torch.zeros(1, 3, sam.image_encoder.img_size, sam.image_encoder.img_size)
        embedding = sam.image_encoder(image)

        def decode(count: int) -> None:
            points = torch.full((count, 1, 2), 100.0)
            signs = torch.ones((count, 1))
            sparse, dense = sam.prompt_encoder(points=(points, signs), boxes=None, masks=None)
            sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )

        return {
            "encoder_ms": _median_ms(lambda: sam.image_encoder(image)),
            "decoder_ms": _median_ms(lambda: decode(1), 41),
            "decoder_ms_in_16": round(_median_ms(lambda: decode(16), 3) / 16, 1),
        }


def validate(
    sam: Sam, root: Path, only: Sequence[str] = (), *, clicks: bool = False
) -> dict[str, Any]:
    """Measure a model on every kind of image that validates.

    Parameters
    ----------
    sam : Sam
        In evaluation mode.
    root : Path
        The folder of real data.
    only : sequence of str
        Names of kinds; all by default.
    clicks : bool
        Whether corrective clicks and loose boxes are measured too.

    Returns
    -------
    dict
        ``"kinds"``: for each kind the row of the table, last their mean; ``"sizes"``: rows by the
        objects' diameters; ``"conditions"``: rows of changed pictures (where all kinds are
        measured); ``"clicks"``: rows of ``corrections`` (where asked for); ``"timings"``:
        milliseconds on one core; ``"spearman"``: over all objects together;
        ``"lowest_spearman"``: name and value of the worst single kind with 50 objects or more, or
        None.

    Raises
    ------
    InputError
        ``only`` names what is no kind.
    """
    available = kinds(root)
    unknown = [name for name in only if name not in available]
    if unknown:
        raise InputError(f"no kinds named {unknown}; there are {', '.join(available)}")
    predictor = SamPredictor(sam)
    chosen = [name for name in available if not only or name in only]
    scores = {}
    for name in chosen:
        scores[name] = measure(predictor, available[name])
        row = scores[name].row()
        logger.info("%s: point %.2f, box %.2f", name, row["pick"], row["box"])
    estimates = [value for score in scores.values() for value in score.estimate]
    true = [value for score in scores.values() for value in score.pick]
    rows = {name: score.row() for name, score in scores.items()}
    changed = {} if only else conditions(root)
    corrected: dict[str, Row] = {}
    if clicks:
        again = kinds(root)
        corrected = {name: measure_corrections(predictor, again[name]) for name in chosen}
        corrected[MEAN] = mean_row(corrected.values())
    return {
        "kinds": rows | {MEAN: mean_row(rows.values())},
        "spearman": round(float(spearmanr(estimates, true).statistic), 3),
        "lowest_spearman": lowest_rank(scores),
        "sizes": by_size(scores.values()),
        "conditions": {name: measure(predictor, tiles).row() for name, tiles in changed.items()},
        "clicks": corrected,
        "timings": timings(sam),
    }


def validate_folds(folder: Path, root: Path, device: str = "cpu") -> dict[str, Row]:
    """Measure trainings that each left out a family of kinds, on the kinds left out.

    Parameters
    ----------
    folder : Path
        ``FAMILY/checkpoint.pt`` for each family.
    root : Path
        The folder of real data.
    device : str
        Where the models run.

    Returns
    -------
    dict
        A row for each kind left out, one for each family's mean, and last the mean over all kinds
        left out, which says how many of the families it is of.

    Raises
    ------
    NotThereError
        No family has a checkpoint.
    """
    there = [name for name in FAMILIES if (folder / name / "checkpoint.pt").exists()]
    if not there:
        raise NotThereError(
            f"no FAMILY/checkpoint.pt in {folder}, where FAMILY is one of {', '.join(FAMILIES)}"
        )
    rows: dict[str, Row] = {}
    every: list[Row] = []
    for name in there:
        predictor = SamPredictor(from_checkpoint(folder / name / "checkpoint.pt").to(device))
        found = {kind: measure(predictor, tiles).row() for kind, tiles in kinds(root, name).items()}
        rows |= {f"{name}: {kind}": row for kind, row in found.items()}
        rows[f"{name}, mean"] = mean_row(found.values())
        every += found.values()
    rows[f"{MEAN} left out, {len(there)} of {len(FAMILIES)} folds"] = mean_row(every)
    return rows


def _print(result: dict[str, Any]) -> None:
    for part in ("kinds", "sizes", "conditions"):
        if result[part]:
            print(table(result[part]), end="\n\n")
    if result["clicks"]:
        print(table(result["clicks"], CORRECTIONS), end="\n\n")
    print(f"Spearman correlation of estimated with true IoU, all objects: {result['spearman']:.2f}")
    if result["lowest_spearman"]:
        name, rank = result["lowest_spearman"]
        print(f"Lowest of a single kind with 50 objects or more: {rank:.2f} ({name})")
    times = result["timings"]
    print(
        f"CPU time on one core, 256 x 256: encoder {times['encoder_ms']} ms; "
        f"decoder {times['decoder_ms']} ms a prompt, "
        f"{times['decoder_ms_in_16']} ms in a batch of 16"
    )


def _model(options: argparse.Namespace) -> tuple[Sam, str | None]:
    """Load what is to be measured, and tell the digest of weights that are exported."""
    if options.checkpoint:
        return from_checkpoint(options.checkpoint), None
    folder = options.weights or versions.version_folder()
    return nano.load(folder=folder), versions.read_record(folder).sha256


def main(arguments: Sequence[str] | None = None) -> int:
    """Validate from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volseg.training.validate", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--weights", type=Path, help="folder of exported weights; the newest by default"
    )
    chosen.add_argument("--checkpoint", type=Path, help="a training's checkpoint instead")
    parser.add_argument("--only", nargs="*", default=(), help="kinds of images")
    parser.add_argument("--clicks", action="store_true", help="corrective clicks and loose boxes")
    parser.add_argument(
        "--folds", type=Path, help="trainings that left out a family: FAMILY/checkpoint.pt in here"
    )
    parser.add_argument(
        "--folds-only", action="store_true", help="measure what --folds names and nothing else"
    )
    parser.add_argument("--json", type=Path, help="write the record here too")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if options.folds_only and not options.folds:
        parser.error("--folds-only needs --folds")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    result: dict[str, Any] = {}
    if not options.folds_only:
        sam, digest = _model(options)
        found = validate(sam.to(options.device), options.data, options.only, clicks=options.clicks)
        _print(found)
        result = {"weights_sha256": digest, **found}
    if options.folds:
        result["folds"] = validate_folds(options.folds, options.data, options.device)
        print(table(result["folds"]), end="\n\n")
    if options.json:
        write_figures(options.json, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
