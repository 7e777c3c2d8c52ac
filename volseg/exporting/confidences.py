"""How sure the model was of each object, slice by slice, out of the tracks of the run that made it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from volseg.errors import UnsupportedFormatError
from volseg.exporting.provenance import last_plan
from volseg.exporting.selection import Selection

_THREADS = 8


@dataclass(frozen=True)
class Sureness:
    """Mean and least confidence over an object's slices, and when it was made (ISO 8601, UTC)."""

    mean: float
    least: float
    created: str


def sureness_of(selection: Selection) -> dict[int, Sureness]:
    """Read the tracks of the selected objects that the last run made and nobody edited since.

    Returns
    -------
    dict of id to Sureness
        Empty where the labels come from elsewhere, or the run was of another time.
    """
    store = selection.volume.output_store
    found = last_plan(store, selection.labels.name)
    if found is None:
        return {}
    made, plan = found
    if plan.get("source", {}).get("time", 0) != selection.time:
        return {}
    created = made.isoformat(timespec="seconds")
    folder = f"volseg/runs/{plan.get('hash')}/data/tracks"
    ids = [row.id for row in selection.rows.values() if row.annotator is None]

    def read(one: int) -> Sureness | None:
        from volseg.propagation.track import Track

        data = store.get_or_none(f"{folder}/{one:010d}")
        if data is None:
            return None
        try:
            track = Track.from_bytes(data)
        except UnsupportedFormatError:
            return None  # of another version: the table does without
        values = [track.confidence(z) for z in track.slices]
        if not values:
            return None
        return Sureness(sum(values) / len(values), min(values), created)

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(read, ids))
    return {one: sure for one, sure in zip(ids, results, strict=True) if sure is not None}
