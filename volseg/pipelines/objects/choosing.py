"""Which objects to look at next: at random, where a classifier is least sure, or one of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volseg.errors import InputError
from volseg.pipelines.objects.classification import predicted
from volseg.pipelines.objects.job import measure
from volseg.pipelines.objects.learning import ObjectModel
from volseg.pipelines.objects.sources import ObjectSource

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.measurement.table import FeatureTable
    from volseg.progress import Progress

How = Literal["random", "unsure", "each"]


@dataclass(frozen=True)
class NextObject:
    """An object worth a look: where its centroid is (z, y, x voxels of level 0), and what a classifier says of it."""

    time: int
    id: int
    place: tuple[float, float, float]
    class_: str | None = None
    confidence: float | None = None
    margin: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "time": self.time, "id": self.id, "place_zyx": list(self.place), "class": self.class_,
            "confidence": self.confidence, "margin": self.margin,
        }  # fmt: skip


def next_objects(
    volume: Volume,
    name: str,
    model: str | ObjectModel | None = None,
    *,
    how: How = "random",
    class_: str | None = None,
    count: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[NextObject]:
    """Choose objects that no person gave a class to, the first one first.

    Parameters
    ----------
    volume
        The image.
    name
        Its label image.
    model
        A classifier; needed for all but ``random``.
    how
        ``random``; ``unsure``: the smallest margin between the two most probable classes first; ``each``: the classes
        in turn, at random within each.
    class_
        Only objects that the classifier gives this class.
    count
        How many, at most.
    seed
        Of what is random.
    progress
        Of measuring, where that is needed first.

    Raises
    ------
    InputError
        There is no model where one is needed, or it knows no such class.
    """
    if model is None and (how != "random" or class_ is not None):
        raise InputError(
            "objects are chosen by what a classifier says of them: give one with --model"
        )
    loaded = ObjectModel.load(model) if isinstance(model, str) else model
    if loaded is not None and class_ is not None and class_ not in loaded.learned.names:
        raise InputError(
            f"the classifier knows no class {class_!r}; it knows {', '.join(loaded.learned.names)}"
        )
    source = ObjectSource(volume, name)
    definition = None if loaded is None else loaded.definition
    table = measure(volume, name, definition=definition, progress=progress).table
    known = source.classes_of_people()
    found = [one for one in _all(table, loaded, source) if (one.time, one.id) not in known]
    if class_ is not None:
        found = [one for one in found if one.class_ == class_]
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    shuffled = [found[at] for at in order]
    if how == "unsure":
        shuffled.sort(key=lambda one: (one.margin, one.time, one.id))
    elif how == "each" and loaded is not None:
        shuffled = _in_turn(shuffled, loaded.learned.names)
    return shuffled[:count]


def _all(table: FeatureTable, model: ObjectModel | None, source: ObjectSource) -> list[NextObject]:
    voxel = np.array(source.labels.scale)
    found = []
    if model is None:
        for part in table.parts():
            for t, i, at in zip(
                part.times.tolist(), part.ids.tolist(), part.centroids / voxel, strict=True
            ):
                found.append(NextObject(t, i, _rounded(at)))
        return found
    for part, probabilities in predicted(source, table, model):
        ranked = np.sort(probabilities, axis=1)
        best = probabilities.argmax(axis=1)
        for row in range(len(part)):
            found.append(
                NextObject(
                    int(part.times[row]),
                    int(part.ids[row]),
                    _rounded(part.centroids[row] / voxel),
                    model.learned.names[best[row]],
                    round(float(ranked[row, -1]), 4),
                    round(float(ranked[row, -1] - ranked[row, -2]), 6),
                )
            )
    return found


def _rounded(point: Any) -> tuple[float, float, float]:
    z, y, x = (round(float(v), 2) for v in point)
    return z, y, x


def _in_turn(objects: list[NextObject], names: tuple[str, ...]) -> list[NextObject]:
    piles = [[one for one in objects if one.class_ == name] for name in names]
    longest = max(map(len, piles), default=0)
    return [pile[at] for at in range(longest) for pile in piles if at < len(pile)]
