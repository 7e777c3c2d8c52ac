"""What one object hands from slice to slice, and so from one window of slices to the next.

A state is a value, exact through bytes: an object that is handed over continues as if it had
never been cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.geometry import Box
from volseg.propagation.track import decode_runs, encode_runs
from volseg.propagation.window import EMPTY, MaskWindow

Direction = int
"""1 upward (growing z), -1 downward."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A mask on a slice and how it moves.

    Parameters
    ----------
    z : int
        The slice of the mask.
    mask : MaskWindow
    velocity : (vy, vx)
        Smoothed motion of the centroid, voxels per slice in the direction of travel.
    known : bool
        Whether a velocity was measured yet.
    parts : tuple of (vy, vx)
        Where the mask has several components, the velocity of each, largest first.
    growth : float
        Smoothed outward motion of the border, voxels per slice; negative where it shrinks.
    """

    z: int
    mask: MaskWindow
    velocity: tuple[float, float] = (0.0, 0.0)
    known: bool = False
    parts: tuple[tuple[float, float], ...] = ()
    growth: float = 0.0


@dataclass(frozen=True, eq=False)
class State:
    """One object on its way in one direction.

    Parameters
    ----------
    direction : 1 or -1
    next_z : int
        The slice to look at next.
    last : Pose or None
        The last accepted mask; None while the object waits for its next seed.
    anchor : Pose or None
        The mask before an abrupt change that is not confirmed yet.
    score : float
        Smoothed score of the accepted masks, -1 before the first.
    spread : float
        Smoothed deviation of the scores from their mean: whether they can be trusted.
    top : float
        The best that the smoothed score has been, -1 before the first mask.
    doubt : float
        What speaks for the object's having ended, less what spoke against it since.
    brightness : tuple of float
        Smoothed brightness of the accepted masks in each channel, 0..1; () where unknown.
    pending : {z: MaskWindow}
        Seeds still ahead.
    finished : bool
        Nothing is left to do in this direction.
    """

    direction: Direction
    next_z: int
    last: Pose | None
    anchor: Pose | None = None
    score: float = -1.0
    spread: float = 0.06
    top: float = -1.0
    doubt: float = 0.0
    brightness: tuple[float, ...] = ()
    pending: Mapping[int, MaskWindow] = field(default_factory=dict)
    finished: bool = False

    @property
    def gap(self) -> int:
        """Slices passed since the last accepted mask."""
        return 0 if self.last is None else abs(self.next_z - self.last.z) - 1

    @property
    def box(self) -> Box | None:
        """Where the object was last seen (y0, x0, y1, x1), or None while it waits for a seed."""
        return None if self.last is None else self.last.mask.box

    def to_bytes(self) -> bytes:
        """Canonical JSON; equal states give equal bytes."""
        record = {
            "format": "volseg-state-3",
            "direction": self.direction,
            "next_z": self.next_z,
            "last": _pose_record(self.last),
            "anchor": _pose_record(self.anchor),
            "score": self.score,
            "spread": self.spread,
            "top": self.top,
            "doubt": self.doubt,
            "brightness": list(self.brightness),
            "pending": {str(z): _mask_record(self.pending[z]) for z in sorted(self.pending)},
            "finished": self.finished,
        }
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(data: bytes) -> State:
        """The state of `to_bytes`.

        Raises
        ------
        UnsupportedFormatError
            `data` is not a state.
        """
        try:
            record = json.loads(data)
            if record["format"] != "volseg-state-3":
                raise ValueError(f"format {record['format']!r}")
            return State(
                direction=record["direction"],
                next_z=record["next_z"],
                last=_pose(record["last"]),
                anchor=_pose(record["anchor"]),
                score=record["score"],
                spread=record["spread"],
                top=record["top"],
                doubt=record["doubt"],
                brightness=tuple(record["brightness"]),
                pending={int(z): _mask(m) for z, m in sorted(record["pending"].items())},
                finished=record["finished"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedFormatError(
                f"not a stored propagation state ({len(data)} bytes): {error}; "
                "delete it and run its block again"
            ) from error


def waiting(state: State, n_slices: int) -> State:
    """The state of an object that was lost: it waits for its next seed, or is finished."""
    ahead = [z for z in state.pending if (z - state.next_z) * state.direction >= 0]
    ahead = [z for z in ahead if 0 <= z < n_slices]
    if not ahead:
        return replace(state, last=None, anchor=None, pending={}, finished=True)
    following = min(ahead) if state.direction > 0 else max(ahead)
    return replace(
        state,
        next_z=following,
        last=None,
        anchor=None,
        pending={z: state.pending[z] for z in sorted(ahead)},
    )


def _mask_record(mask: MaskWindow) -> list[Any]:
    return [*mask.origin, *mask.mask.shape, encode_runs(mask.mask).tolist()]


def _mask(record: list[Any]) -> MaskWindow:
    y0, x0, h, w, runs = record
    counts = np.array(runs, dtype=np.uint32)
    if not h or not w:
        return EMPTY
    mask = decode_runs(counts, (h, w))
    mask.flags.writeable = False
    return MaskWindow((y0, x0), mask, int(counts[1::2].sum()))


def _pose_record(pose: Pose | None) -> dict[str, Any] | None:
    if pose is None:
        return None
    return {
        "z": pose.z,
        "mask": _mask_record(pose.mask),
        "velocity": pose.velocity,
        "known": pose.known,
        "parts": pose.parts,
        "growth": pose.growth,
    }


def _pose(record: dict[str, Any] | None) -> Pose | None:
    if record is None:
        return None
    vy, vx = record["velocity"]
    return Pose(
        z=record["z"],
        mask=_mask(record["mask"]),
        velocity=(vy, vx),
        known=record["known"],
        parts=tuple((py, px) for py, px in record["parts"]),
        growth=record["growth"],
    )
