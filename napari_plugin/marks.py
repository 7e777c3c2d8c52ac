"""The marks of one object on one slice while they are being made, and their way to a prompt and to the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from volseg.errors import InputError
from volseg.prompts import Prompt, RunLengthMask, Scribble
from volseg.propagation import SlicePrompt
from volseg.propagation.window import MaskWindow

INSIDE, OUTSIDE = 8.0, -8.0  # logits of a painted mask, as in a job
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marks:
    """What was marked on one slice for one object; a value, so that taking back is going to the value before.

    Parameters
    ----------
    points
        (y, x, 1 or 0) in voxels, whole numbers being centres.
    box
        y0, x0, y1, x1, half-open.
    scribbles
        Painted lines.
    mask
        A painted mask that serves as a prompt.
    ends
        The object stops before this slice.
    """

    points: tuple[tuple[float, float, Literal[0, 1]], ...] = ()
    box: Box | None = None
    scribbles: tuple[Scribble, ...] = ()
    mask: MaskWindow | None = None
    ends: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is marked."""
        return self == Marks()

    @property
    def positive(self) -> bool:
        """Whether something says where the object is."""
        return (
            self.box is not None
            or self.mask is not None
            or any(label for _, _, label in self.points)
            or any(one.label for one in self.scribbles)
        )

    def with_point(self, y: float, x: float, inside: bool) -> Marks:
        """The marks and one point more."""
        return replace(
            self, points=(*self.points, (float(y), float(x), 1 if inside else 0)), ends=False
        )

    def with_box(self, corner: tuple[float, float], opposite: tuple[float, float]) -> Marks:
        """The marks with a box spanned by two places (y, x) instead of the one before.

        Raises
        ------
        InputError
            The box is empty.
        """
        (y0, y1), (x0, x1) = (sorted(pair) for pair in zip(corner, opposite, strict=True))
        box = (np.floor(y0 + 0.5), np.floor(x0 + 0.5), np.ceil(y1 + 0.5), np.ceil(x1 + 0.5))
        if box[2] - box[0] < 2 or box[3] - box[1] < 2:
            raise InputError("a box needs at least two voxels on each side; drag further")
        return replace(
            self, box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])), ends=False
        )

    def with_scribble(
        self, path: Iterable[tuple[float, float]], radius: float, inside: bool
    ) -> Marks:
        """The marks and a painted line (y, x) more."""
        line = Scribble(
            path=tuple((float(y), float(x)) for y, x in path),
            radius=radius,
            label=1 if inside else 0,
        )
        return replace(self, scribbles=(*self.scribbles, line), ends=False)

    def clipped(self, shape_yx: tuple[int, int]) -> Marks:
        """The marks inside a slice: points at most on its edge, boxes cut."""
        height, width = shape_yx

        def inside(y: float, x: float) -> tuple[float, float]:
            return min(max(y, -0.5), height - 0.51), min(max(x, -0.5), width - 0.51)

        box = self.box
        if box is not None:
            y0, x0, y1, x1 = box
            box = (max(0.0, y0), max(0.0, x0), min(float(height), y1), min(float(width), x1))
        return replace(
            self,
            points=tuple((*inside(y, x), label) for y, x, label in self.points),
            box=box,
            scribbles=tuple(
                one.model_copy(update={"path": tuple(inside(y, x) for y, x in one.path)})
                for one in self.scribbles
            ),
        )

    def prompt(self, z: int, t: int, shape_yx: tuple[int, int]) -> Prompt:
        """The marks as they are stored; raises pydantic's ValidationError where they are empty."""
        mask = None
        if self.mask is not None:
            mask = RunLengthMask.encode(self.mask.full(shape_yx))
        return Prompt(
            z=z,
            t=t,
            points=self.points,
            box=self.box,
            mask=mask,
            scribbles=self.scribbles,
            ends=self.ends,
        )

    @staticmethod
    def of(prompt: Prompt) -> Marks:
        """The marks of a stored prompt."""
        mask = None if prompt.mask is None else MaskWindow.crop(prompt.mask.decode())
        return Marks(prompt.points, prompt.box, prompt.scribbles, mask, prompt.ends)

    def slice_prompt(self) -> SlicePrompt:
        """What the model is asked."""
        rows = [*self.points]
        rows += [(y, x, one.label) for one in self.scribbles for y, x in one.points()]
        array = np.array(rows, dtype=np.float64).reshape(-1, 3)
        logits, origin = None, (0, 0)
        if self.mask is not None:
            logits = np.where(self.mask.mask, INSIDE, OUTSIDE).astype(np.float32)
            origin = self.mask.origin
        return SlicePrompt(
            array[:, :2].copy(), array[:, 2].astype(np.int64), self.box, logits, origin
        )
