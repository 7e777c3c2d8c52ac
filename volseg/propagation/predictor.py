"""The seam between propagation and any 2D model: prompts of one slice in, candidate masks out.

Only the three types of the seam live here; nothing in this room knows which model stands behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from volseg.propagation.window import MaskWindow


def _no_points() -> NDArray[np.float64]:
    return np.zeros((0, 2), dtype=np.float64)


def _no_labels() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class SlicePrompt:
    """What a model is told about one object on one slice. Coordinates are voxels of the slice.

    Parameters
    ----------
    points : (n, 2) float
        Positions y, x; whole numbers are voxel centres.
    point_labels : (n,) int
        1 inside the object, 0 outside.
    box : (y0, x0, y1, x1) or None
        Half-open box around the object.
    mask_logits : (h, w) float32 or None
        A mask as logits at the resolution of the slice, positive inside the object; outside the
        array is background. Models use it together with points only.
    mask_origin : (y0, x0)
        Where `mask_logits` lies in the slice; (0, 0) for a whole slice.
    """

    points: NDArray[np.floating] = field(default_factory=_no_points)
    point_labels: NDArray[np.integer] = field(default_factory=_no_labels)
    box: tuple[float, float, float, float] | None = None
    mask_logits: NDArray[np.floating] | None = None
    mask_origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The masks that a model offers for one prompt.

    Parameters
    ----------
    masks : (k, h, w) bool
        k may be 0. Masks in a window of the slice; outside it nothing is set.
    scores : (k,) float
        The model's own estimate of each mask's IoU with the object, 0..1.
    origin : (y0, x0)
        Where the window lies in the slice; (0, 0) for a whole slice.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.floating]
    origin: tuple[int, int] = (0, 0)


@runtime_checkable
class SlicePredictor(Protocol):
    """A 2D model over the slices of one volume."""

    shape: tuple[int, int, int]
    """The volume's z, y, x in voxels."""

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        """Candidates of each prompt on slice `z`, in the order of `prompts`.

        The answer to a prompt must not depend on the other prompts of the call: objects are
        decoded together for speed only.
        """
        ...


@runtime_checkable
class SeesBrightness(Protocol):
    """What a `SlicePredictor` may offer besides: to tell how bright the image is under a mask.

    An object keeps its brightness from slice to slice, whatever a model says of what lies beyond it.
    """

    def brightness(self, z: int, mask: MaskWindow) -> tuple[float, ...]:
        """Mean of each channel under a mask on slice `z`, 0..1 of what is shown; () if unknown."""
        ...


def brightness_of(predictor: object, z: int, mask: MaskWindow) -> tuple[float, ...]:
    """What a predictor sees under a mask, as `SeesBrightness` tells it; () where it is none."""
    return predictor.brightness(z, mask) if isinstance(predictor, SeesBrightness) else ()
