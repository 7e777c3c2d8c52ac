"""Classifying: every object gets a class and how sure it is, into the table of objects; a person's class stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.images.objects import MODEL, ObjectRow
from volseg.measurement.table import FeatureRows, FeatureTable
from volseg.pipelines.objects.job import measure
from volseg.pipelines.objects.learning import ObjectModel
from volseg.pipelines.objects.patches import patch_reader
from volseg.pipelines.objects.sources import ObjectKey, ObjectSource, as_sources
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.image import Volume

Found = dict[ObjectKey, tuple[str, float]]
"""Class and confidence by time and id."""


@dataclass(frozen=True)
class Classified:
    """What became of one label image.

    Attributes
    ----------
    url, labels
        Which.
    model
        Name and hash of the classifier.
    counts
        Objects by the class that counts.
    people
        Objects whose class a person gave, which stands.
    """

    url: str
    labels: str
    model: str
    counts: dict[str, int]
    people: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))

    def describe(self) -> str:
        """For people, one line."""
        told = ", ".join(f"{n} {name}" for name, n in sorted(self.counts.items())) or "no object"
        return f"labels {self.labels} in {self.url}: {told}; {self.people} by people (model {self.model})"


def classify(
    volume: Volume | str,
    labels: str,
    model: str | ObjectModel,
    *,
    labels_at: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Classified:
    """Give every object of a label image a class; measures first what is not measured yet.

    Parameters
    ----------
    volume
        The image, or its path or URL.
    labels
        Name of the label image.
    model
        Folder of a classifier.
    labels_at
        Where labels lie, if the image is read-only.
    cluster, workers, restart, progress
        As in `measure`.

    Raises
    ------
    InputError
        The image does not have what the classifier looks at; the message says what differs.
    StorageError
        The table of objects can't be written.
    """
    (source,) = as_sources([(volume, labels)], labels_at)
    loaded = model if isinstance(model, ObjectModel) else ObjectModel.load(model)
    if source.labels.store.read_only or source.volume.output_store.read_only:
        raise InputError(
            f"{source.labels.location} can't be written, so its objects get no classes; copy the labels first"
        )
    found = measure(
        source.volume,
        labels,
        definition=loaded.definition,
        cluster=cluster,
        workers=workers,
        restart=restart,
        progress=progress,
    )
    classes = classes_of(source, found.table, loaded, progress or silent)
    return _written(source, loaded, classes)


def classes_of(
    source: ObjectSource, table: FeatureTable, model: ObjectModel, progress: Progress = silent
) -> Found:
    """Return class and confidence of every row of a table, read a part at a time."""
    found: Found = {}
    names = model.learned.names
    total = len(table)
    for part, probabilities in predicted(source, table, model):
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(part)), best].round(4)
        rows = zip(
            part.times.tolist(), part.ids.tolist(), best.tolist(), sure.tolist(), strict=True
        )
        for time, one, at, confidence in rows:
            found[time, one] = (names[at], confidence)
        progress("classify", len(found), total)
    return found


def predicted(
    source: ObjectSource, table: FeatureTable, model: ObjectModel
) -> Iterator[tuple[FeatureRows, NDArray[np.float64]]]:
    """Yield rows with the probability of each class (n, classes)."""
    reader = None if model.patch is None else patch_reader(source, model.definition, model.patch)
    for part in table.parts():
        if reader is None:
            yield part, model.learned.probabilities(part.values)
        else:
            for some, patches in reader.parts(part):
                yield some, model.learned.probabilities(patches)


def _written(source: ObjectSource, model: ObjectModel, classes: Found) -> Classified:
    """Bring classes into the table of objects, in one change."""
    labels = source.labels
    category = labels.metadata.category
    given_by = MODEL + model.name
    listed = {(row.time, row.id) for row in labels.objects.rows()}
    missing = classes.keys() - listed
    scanned: dict[ObjectKey, ObjectRow] = {}
    if missing:
        from volseg.images.scan import scan_objects

        scanned = {(row.time, row.id): row for row in scan_objects(labels)}
    people = [0]

    def changed(old: dict[ObjectKey, ObjectRow]) -> dict[ObjectKey, ObjectRow]:
        rows = {**{key: scanned[key] for key in missing if key in scanned}, **old}
        people[0] = 0
        for key, row in rows.items():
            if row.class_of_person(category) is not None:
                people[0] += 1
            elif key in classes:
                class_, sure = classes[key]
                rows[key] = replace(row, class_=class_, class_by=given_by, class_confidence=sure)
        return rows

    rows = labels.objects.change(changed)
    labels.objects.publish()
    counts = Counter(row.class_ for row in rows.values() if row.class_ is not None)
    return Classified(str(source.volume.location), source.name, model.name, dict(counts), people[0])
