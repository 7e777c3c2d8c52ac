"""What looks wrong about the objects that a run made, for the person who prompted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volseg.pipelines.segmentation.groups import Found

COVERED_SHARE = 0.5
"""An object that keeps less of its voxels than this was prompted where another one is."""
UNSURE_BELOW = 0.5
"""Mean confidence, 0..1, of a track that the model itself hardly believes."""
MOST_LISTED = 20

_WORDS = {
    "empty": "nothing was found under the prompts of {}: do they lie on background?",
    "incomplete": "not finished: {}; try again with --resume",
    "on_first_slice": "ended on the slice of its prompt: {}; prompt another slice, or choose another --zoom",
    "covered": "mostly covered by another object: {}; prompted twice?",
    "unsure": f"confidence below {UNSURE_BELOW}: {{}}; do the prompts lie on background?",
}


def doubts_of(found: Found, depth: int) -> dict[str, list[int]]:
    """Return the ids of objects that look wrong, by the name of the doubt.

    Parameters
    ----------
    found
        What the run's blocks found.
    depth
        Slices of the volume: where there is one, no object can go further.
    """
    tracks = [track for _, track in sorted(found.tracks.items())]
    kept = {i: extent.voxels for i, extent in found.extents.items()}
    prompted = {i: len(slices) for i, slices in found.seeds.items()}
    return {
        "on_first_slice": [t.id for t in tracks if t.slices <= prompted.get(t.id, 0) < depth],
        "covered": [t.id for t in tracks if kept.get(t.id, 0) < COVERED_SHARE * t.voxels],
        "unsure": [t.id for t in tracks if t.score < UNSURE_BELOW],
    }


def describe_doubts(objects: Mapping[str, Any]) -> list[str]:
    """Return a line for each doubt of a report's `objects`."""
    return [
        words.format(_listed(objects[doubt]))
        for doubt, words in _WORDS.items()
        if objects.get(doubt)
    ]


def _listed(ids: Sequence[int]) -> str:
    listed = ", ".join(map(str, ids[:MOST_LISTED]))
    more = f" and {len(ids) - MOST_LISTED} more" if len(ids) > MOST_LISTED else ""
    return f"object{'s' * (len(ids) != 1)} {listed}{more}"
