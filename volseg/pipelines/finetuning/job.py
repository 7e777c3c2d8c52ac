"""Fine-tuning from label images to a model's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.models.folder import check_target
from volseg.models.tuned.folder import KIND, Base, write_tuned
from volseg.pipelines.finetuning.judge import Scores, Verdict, judge
from volseg.pipelines.finetuning.options import FinetuneOptions
from volseg.pipelines.objects.sources import ObjectSource, as_sources
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.models.model import Model
    from volseg.pipelines.finetuning.pupil import Pupil, Tensors
    from volseg.pipelines.finetuning.views import ObjectKey, View

ROUNDS = 5
"""Parts in which objects come: each scores before it teaches."""
THREADS = 2
"""Of torch, on any machine: the last bits of a sum depend on them."""


@dataclass(frozen=True)
class FinetuneResult:
    """A model that was trained.

    Attributes
    ----------
    out
        Its folder.
    sha256
        Names it.
    parent
        Digest of the model that it learned from.
    objects, offered
        How many taught, of how many.
    verdict
        Whether it is better.
    """

    out: str
    sha256: str
    parent: str
    objects: int
    offered: int
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.out,
            "sha256": self.sha256,
            "parent": self.parent,
            "objects": self.objects,
            "offered": self.offered,
            "better": self.verdict.better,
            "verdict": self.verdict.to_json(),
        }

    def describe(self) -> str:
        """For people."""
        taught = f"{self.objects} of {self.offered} objects"
        return f"{self.out}: learned from {taught} ({self.sha256[:12]})\n{self.verdict.describe()}"


def finetune(
    sources: Iterable[tuple[Volume | str, str]],
    out: str,
    options: FinetuneOptions | None = None,
    *,
    overwrite: bool = False,
    labels_at: str | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> FinetuneResult:
    """Train a model's mask decoder and score head on the objects of label images; its encoder stays.

    Parameters
    ----------
    sources
        Images, or their paths or URLs, each with the name of a label image.
    out
        Folder to write, on a disk or in a bucket; written whatever the verdict says.
    options
        What learns, and from what.
    overwrite
        Replace a model of this kind that is there.
    labels_at
        Where labels lie, if the images are read-only.
    progress
        Told stages ``objects``, ``embed``, ``replay`` and ``train``.
    choices
        Fields of `FinetuneOptions`, instead of `options`.

    Raises
    ------
    InputError
        No objects, a model whose decoder can't be trained apart, a target that exists.
    """
    from volseg.models.model import tunable
    from volseg.models.registry import load_model
    from volseg.pipelines.finetuning.objects import choose_objects, collect_views
    from volseg.pipelines.finetuning.pupil import Pupil
    from volseg.pipelines.finetuning.replay import replayed

    wanted = options or FinetuneOptions.of(**choices)
    tell = progress or silent
    check_target(out, KIND, overwrite=overwrite)
    opened = as_sources(sources, labels_at)
    chosen = choose_objects(opened, wanted, tell)
    model = load_model(wanted.model)
    network = tunable(model.network, model.spec.name)
    with fixed_threads():
        views = collect_views(opened, chosen, model, wanted, tell)
        kept = replayed(model, 2 * wanted.replay, wanted.seed, tell)
        names = tuple(name for name, _ in model.spec.arrays)
        pupil = Pupil(network, names, model.mask_size, model.device, wanted.seed)
        order = [key for key in chosen.slices if any(view.object == key for view in views)]
        verdict = _in_rounds(pupil, order, views, kept, wanted, tell)
    return _written(
        out, opened, model, pupil.learned(), verdict, wanted, len(order), chosen.offered, overwrite
    )


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Let torch compute with `THREADS` threads inside a `with` block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_rounds(
    pupil: Pupil,
    order: list[ObjectKey],
    views: list[View],
    kept: list[View],
    options: FinetuneOptions,
    progress: Progress,
) -> Verdict:
    """Let objects come in rounds: each scores both decoders, then teaches along with all before."""
    from volseg.pipelines.finetuning.prompting import exact_boxes, middle_points

    rounds = min(ROUNDS, len(order), options.steps)
    cuts = np.linspace(0, len(order), rounds + 1).round().astype(int)
    ends = np.linspace(0, options.steps, rounds + 1).round().astype(int)
    teaching = [view for view in kept if view.object[1] % 2 == 0]
    judging = [view for view in kept if view.object[1] % 2]
    points: dict[ObjectKey, float] = {}
    boxes: dict[ObjectKey, float] = {}
    for number in range(rounds):
        if number:
            coming = set(order[cuts[number] : cuts[number + 1]])
            fresh = [view for view in views if view.object in coming]
            points |= pupil.scores(pupil.learned(), fresh, middle_points)
            boxes |= pupil.scores(pupil.learned(), fresh, exact_boxes)
        known = set(order[: cuts[number + 1]])
        pupil.learn(
            [view for view in views if view.object in known],
            teaching,
            int(ends[number + 1] - ends[number]),
            lambda: progress("train", pupil.step, options.steps),
        )
    held = [view for view in views if view.object in points]
    old_points: Scores = pupil.scores(pupil.first, held, middle_points)
    old_boxes: Scores = pupil.scores(pupil.first, held, exact_boxes)
    old_kept = pupil.scores(pupil.first, judging, middle_points)
    new_kept = pupil.scores(pupil.learned(), judging, middle_points)
    return judge((old_points, points), (old_boxes, boxes), (old_kept, new_kept))


def _written(
    out: str,
    sources: list[ObjectSource],
    model: Model,
    weights: Tensors,
    verdict: Verdict,
    options: FinetuneOptions,
    objects: int,
    offered: int,
    overwrite: bool,
) -> FinetuneResult:
    base, parent = Base.of(model.spec), model.spec.sha256 or ""
    about = {
        "verdict": verdict.to_json(),
        "objects": objects,
        "images": len(sources),
        "options": options.model_dump(mode="json", exclude={"model"}),
    }
    arrays = {name: value.cpu().numpy() for name, value in weights.items()}
    card = _card(base, parent, verdict, options, objects, offered, len(sources))
    sha256 = write_tuned(out, base, parent, arrays, card, about, overwrite=overwrite)
    return FinetuneResult(out, sha256, parent, objects, offered, verdict)


def _card(
    base: Base,
    parent: str,
    verdict: Verdict,
    options: FinetuneOptions,
    objects: int,
    offered: int,
    images: int,
) -> str:
    from volseg import __version__

    return f"""# A decoder that learned from label images

Made by volseg {__version__}: mask decoder and score head of {base.name} (SHA-256 `{base.sha256}`).
It shares that model's encoder, and so its embeddings. It learned from the model `{parent}`.

## What it learned from

{objects} of {offered} objects in {images} label image{"" if images == 1 else "s"}, {options.steps} steps,
seed {options.seed}; prompts were simulated on the objects' slices.
{options.replay} generated images were replayed against forgetting.

## Is it better?

```
{verdict.describe()}
```

Every object scored the old decoder and this one before this one learned from it; objects of the first round, which
nothing was learned before, are not counted. Replayed images that are counted never teach.
"""
