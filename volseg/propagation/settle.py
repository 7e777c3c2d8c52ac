"""The two passes of one object made one track: seeds, gaps, contradictions, merged branches."""

from __future__ import annotations

from collections.abc import Mapping

from volseg.propagation.context import Context
from volseg.propagation.predictor import SlicePredictor
from volseg.propagation.settings import DEFAULTS, Settings
from volseg.propagation.track import SliceKind, Track, TrackSlice
from volseg.propagation.window import MaskWindow


def settle(
    predictor: SlicePredictor,
    seeds: Mapping[int, MaskWindow],
    up: Track,
    down: Track,
    settings: Settings | None = None,
    *,
    context: Context | None = None,
    object_id: int = 0,
) -> Track:
    """Joins an object's passes.

    Parameters
    ----------
    predictor : SlicePredictor
        Asked only where a merged branch or a doubtful run is followed from the other side.
    seeds : {z: MaskWindow}
        The object's prompted slices.
    up, down : Track
        All that the upward and the downward pass found (the windows' pieces merged).
    settings : Settings
    context : Context
        That of the whole job.
    object_id : int
        The object's id in the context.

    Returns
    -------
    Track
    """
    settings, context = settings or DEFAULTS, context or Context()
    joined = {**down.entries(), **up.entries()}
    for z, mask in seeds.items():
        if mask.area:
            joined[z] = TrackSlice.of(mask, 1.0, SliceKind.SEED)
    return Track(predictor.shape, joined)
