"""The track of one object: per slice a bounding box, run lengths and a confidence.

Memory is O(object). Tracks are values: immutable, equal by content, and exact through bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.geometry import Box, Region
from volseg.propagation.window import MaskWindow, union_box

_MAGIC = b"VSTRACK1"
_HEADER = struct.Struct("<8s4I")
_RECORD = struct.Struct("<i4iBidI")


class SliceKind(IntEnum):
    """How a slice of a track came about."""

    SEED = 0
    """Prompted or corrected by a person."""
    DECODED = 1
    """Found by the model."""
    BRIDGED = 2
    """Interpolated between found slices."""


def encode_runs(mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Run lengths of `mask` (h, w) in row order, starting with background (maybe 0 long)."""
    flat = np.concatenate(([False], mask.ravel(), [not mask.ravel()[-1]] if mask.size else []))
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(ends, prepend=0).astype(np.uint32)


def decode_runs(runs: NDArray[np.uint32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The (h, w) bool mask of `encode_runs`."""
    values = np.zeros(len(runs), dtype=np.bool_)
    values[1::2] = True
    return np.repeat(values, runs).reshape(shape)


@dataclass(frozen=True, eq=False)
class TrackSlice:
    """One slice of a track.

    Parameters
    ----------
    bbox : (y0, x0, y1, x1)
        Voxels, half-open.
    runs : (n,) uint32
        Run lengths in the box, row order, starting with background.
    confidence : float
        0..1.
    kind : SliceKind
    continues : int
        In a pass: the slice whose mask this one continues; what the pass found in between was
        taken back. -1 in settled tracks.
    """

    bbox: Box
    runs: NDArray[np.uint32]
    confidence: float
    kind: SliceKind = SliceKind.DECODED
    continues: int = -1

    @staticmethod
    def of(
        window: MaskWindow, confidence: float, kind: SliceKind, continues: int = -1
    ) -> TrackSlice:
        """The record of a mask."""
        runs = encode_runs(window.mask)
        return TrackSlice(window.box, runs, float(confidence), kind, continues)

    def window(self) -> MaskWindow:
        """The mask cropped to its bounding box."""
        y0, x0, y1, x1 = self.bbox
        mask = decode_runs(self.runs, (y1 - y0, x1 - x0))
        mask.flags.writeable = False
        return MaskWindow((y0, x0), mask, int(self.runs[1::2].sum()))

    def same(self, other: TrackSlice) -> bool:
        """Whether both hold the same voxels, confidence and kind."""
        return (
            self.bbox == other.bbox
            and self.confidence == other.confidence
            and self.kind == other.kind
            and self.continues == other.continues
            and np.array_equal(self.runs, other.runs)
        )


class Track:
    """One object's masks over the slices of a volume.

    Parameters
    ----------
    shape : (z, y, x)
        The volume's size in voxels.
    entries : {z: TrackSlice}
        Non-empty slices only.
    """

    __slots__ = ("_slices", "shape")

    def __init__(
        self, shape: tuple[int, int, int], entries: Mapping[int, TrackSlice] | None = None
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self._slices = {int(z): (entries or {})[z] for z in sorted(entries or {})}

    @property
    def slices(self) -> list[int]:
        """The slices that hold the object, ascending."""
        return list(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, z: int) -> bool:
        return z in self._slices

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Track):
            return NotImplemented
        return (
            self.shape == other.shape
            and self.slices == other.slices
            and all(entry.same(other._slices[z]) for z, entry in self._slices.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not self._slices:
            return "Track(empty)"
        zs = self.slices
        return f"Track({len(zs)} slices in {zs[0]}..{zs[-1]}, {self.voxels} voxels)"

    def entry(self, z: int) -> TrackSlice:
        """The record of slice `z`. Raises KeyError where the object is not on it."""
        return self._slices[z]

    def entries(self) -> dict[int, TrackSlice]:
        """All records by slice, ascending (a copy)."""
        return dict(self._slices)

    def confidence(self, z: int) -> float:
        """How sure the slice is, 0..1; 0 where the object is not on it."""
        entry = self._slices.get(z)
        return entry.confidence if entry else 0.0

    def kind(self, z: int) -> SliceKind:
        """How slice `z` came about. Raises KeyError where the object is not on it."""
        return self._slices[z].kind

    def bbox(self, z: int) -> Box:
        """Bounding box y0, x0, y1, x1 on slice `z`, half-open. Raises KeyError where absent."""
        return self._slices[z].bbox

    def window(self, z: int) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        """Origin (y0, x0) and (h, w) bool mask of slice `z`. Raises KeyError where absent."""
        window = self._slices[z].window()
        return window.origin, window.mask

    def mask_window(self, z: int) -> MaskWindow:
        """The mask of slice `z` as a window. Raises KeyError where absent."""
        return self._slices[z].window()

    def mask(self, z: int) -> NDArray[np.bool_]:
        """The whole slice `z`, (y, x) bool; all False where the object is not on it."""
        entry = self._slices.get(z)
        if entry is None:
            return np.zeros(self.shape[1:], dtype=np.bool_)
        return entry.window().full(self.shape[1:])

    @property
    def voxels(self) -> int:
        """Number of set voxels."""
        return sum(int(entry.runs[1::2].sum()) for entry in self._slices.values())

    @property
    def bbox3d(self) -> Region | None:
        """Bounding region ((z0, z1), (y0, y1), (x0, x1)), half-open; None for an empty track."""
        if not self._slices:
            return None
        y0, x0, y1, x1 = union_box(entry.bbox for entry in self._slices.values())
        zs = self.slices
        return (zs[0], zs[-1] + 1), (y0, y1), (x0, x1)

    @property
    def mean_confidence(self) -> float:
        """Mean confidence over the slices; 0 for an empty track."""
        if not self._slices:
            return 0.0
        return sum(e.confidence for e in self._slices.values()) / len(self._slices)

    def merge(self, other: Track) -> Track:
        """Both tracks' slices; where both have one, `other`'s."""
        return Track(self.shape, {**self._slices, **other._slices})

    def between(self, z0: int, z1: int) -> Track:
        """The slices z0 <= z < z1 only."""
        return Track(self.shape, {z: e for z, e in self._slices.items() if z0 <= z < z1})

    def to_bytes(self) -> bytes:
        """Little-endian records; equal tracks give equal bytes."""
        parts = [_HEADER.pack(_MAGIC, *self.shape, len(self._slices))]
        for z, e in self._slices.items():
            head = (z, *e.bbox, int(e.kind), e.continues, e.confidence, len(e.runs))
            parts.append(_RECORD.pack(*head))
            parts.append(e.runs.astype("<u4").tobytes())
        return b"".join(parts)

    @staticmethod
    def from_bytes(data: bytes) -> Track:
        """The track of `to_bytes`.

        Raises
        ------
        UnsupportedFormatError
            `data` is not a track, or is cut off.
        """
        try:
            return _parse(data)
        except (struct.error, ValueError) as error:
            raise UnsupportedFormatError(
                f"not a stored track ({len(data)} bytes): {error}; delete it and run again"
            ) from error


def _parse(data: bytes) -> Track:
    magic, *shape, count = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError(f"expected the mark {_MAGIC!r}, found {magic!r}")
    at, entries = _HEADER.size, {}
    for _ in range(count):
        z, y0, x0, y1, x1, kind, back, confidence, n_runs = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        runs = np.frombuffer(data, dtype="<u4", count=n_runs, offset=at).astype(np.uint32)
        at += 4 * n_runs
        if int(runs.sum()) != (y1 - y0) * (x1 - x0):
            raise ValueError(f"run lengths of slice {z} do not fill its box")
        entries[z] = TrackSlice((y0, x0, y1, x1), runs, confidence, SliceKind(kind), back)
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
    return Track((shape[0], shape[1], shape[2]), entries)


def empty_track(shape: tuple[int, int, int]) -> Track:
    """A track without slices, in a volume of `shape` (z, y, x)."""
    return Track(shape)


def merge_all(shape: tuple[int, int, int], pieces: Iterable[Track]) -> Track:
    """Joins the pieces that windows gave, later ones winning where two hold one slice."""
    joined: dict[int, TrackSlice] = {}
    for piece in pieces:
        joined.update(piece.entries())
    return Track(shape, joined)
