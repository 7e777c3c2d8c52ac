"""Prompted objects followed through the slices of a volume, one 2D model's answers at a time.

Pure NumPy, SciPy and scikit-image behind the `SlicePredictor` seam: no model, no storage.
"""

from volseg.propagation.compose import compose_block
from volseg.propagation.context import Context
from volseg.propagation.predictor import (
    Candidates,
    SeesBrightness,
    SlicePredictor,
    SlicePrompt,
)
from volseg.propagation.propagate import advance, propagate, start_states
from volseg.propagation.repropagate import repropagate
from volseg.propagation.seeding import is_seed, seed_masks
from volseg.propagation.settings import Settings
from volseg.propagation.settle import settle
from volseg.propagation.state import State
from volseg.propagation.track import SliceKind, Track, TrackSlice, merge_all
from volseg.propagation.window import MaskWindow

__all__ = [
    "Candidates",
    "Context",
    "MaskWindow",
    "SeesBrightness",
    "Settings",
    "SliceKind",
    "SlicePredictor",
    "SlicePrompt",
    "State",
    "Track",
    "TrackSlice",
    "advance",
    "compose_block",
    "is_seed",
    "merge_all",
    "propagate",
    "repropagate",
    "seed_masks",
    "settle",
    "start_states",
]
