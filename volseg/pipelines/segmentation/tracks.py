"""The settled tracks of a finished run: results in their own right, for reports, exports and corrections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.engine.ledger import Ledger
from volseg.pipelines.segmentation.worker_context import track_name
from volseg.propagation.track import Track

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.pipelines.segmentation.plan import Plan


def read_tracks(volume: Volume, plan: Plan) -> dict[int, Track]:
    """Read the track of every object of a run that has one.

    Parameters
    ----------
    volume
        The image that the plan is of.
    plan
        From `stored_plan` or a `RunResult`.

    Returns
    -------
    dict
        Object id → track on the grid of the plan's level, ids ascending.
    """
    ledger = Ledger(volume.output_store, plan.hash)
    tracks = {}
    for one in sorted(plan.objects, key=lambda prompted: prompted.id):
        data = volume.output_store.get_or_none(ledger.key(f"data/{track_name(one.id)}"))
        if data is not None:
            tracks[one.id] = Track.from_bytes(data)
    return tracks
