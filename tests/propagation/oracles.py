"""2D models that know the truth: perfect ones, and ones that are wrong in the ways that models are.

They see what a model sees: the prompt. Which object is meant follows from the points and the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volseg.propagation import Candidates, SlicePrompt

EIGHT = np.ones((3, 3))


class Oracle:
    """Candidates part, whole and too much of what lies under the points or fits the box best.

    Parameters
    ----------
    labels : (z, y, x) int
    seed : int
        Of the randomness in parts, blobs and scores; every answer depends on the slice and the
        prompt alone.
    off_target : {"nothing", "blob", "background"}
        What is offered where no object lies under the prompt.
    windowed : bool
        Offer masks in windows instead of whole slices.
    """

    def __init__(
        self,
        labels: NDArray[np.int32],
        seed: int = 0,
        off_target: str = "nothing",
        windowed: bool = False,
    ) -> None:
        self.labels, self.seed = labels, seed
        self.off_target, self.windowed = off_target, windowed
        self.shape = labels.shape
        self.calls = self.decodes = 0
        self._parts: dict[int, NDArray[np.int32]] = {}

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        self.calls += 1
        self.decodes += len(prompts)
        return [self._window(*self.answer(z, prompt)) for prompt in prompts]

    def answer(self, z: int, prompt: SlicePrompt) -> tuple[list[NDArray[np.bool_]], list[float]]:
        """Masks and scores for one prompt."""
        rng = self.rng(z, prompt)
        whole = self.target(z, prompt)
        if not whole.any():
            return self.nothing_there(z, prompt, rng)
        masks = [self.part(whole, rng), whole, self.too_much(z, whole)]
        return masks, [iou(mask, whole) for mask in masks]

    # --- what is meant ---------------------------------------------------------------------------

    def parts(self, z: int) -> NDArray[np.int32]:
        """Connected parts of the objects of a slice, numbered."""
        if z not in self._parts:
            out, n = np.zeros(self.shape[1:], np.int32), 0
            for value in np.unique(self.labels[z][self.labels[z] > 0]):
                found, count = ndimage.label(self.labels[z] == value, EIGHT)
                out[found > 0] = found[found > 0] + n
                n += count
            self._parts[z] = out
        return self._parts[z]

    def target(self, z: int, prompt: SlicePrompt) -> NDArray[np.bool_]:
        """The parts under the positive points, or the part that fits the box best."""
        parts = self.parts(z)
        if len(prompt.points):
            at = np.floor(np.asarray(prompt.points) + 0.5).astype(int)
            at = np.clip(at, 0, np.array(parts.shape) - 1)
            under = parts[at[:, 0], at[:, 1]]
            wanted = np.asarray(prompt.point_labels) == 1
            meant = set(under[wanted].tolist()) - set(under[~wanted].tolist()) - {0}
            return np.isin(parts, sorted(meant)) if meant else np.zeros(parts.shape, bool)
        best, chosen = 0.0, 0
        for value, where in enumerate(ndimage.find_objects(parts), start=1):
            if where is None or prompt.box is None:
                continue
            fit = box_iou(prompt.box, where)
            if fit > best:
                best, chosen = fit, value
        return parts == chosen if chosen else np.zeros(parts.shape, bool)

    # --- what is offered -------------------------------------------------------------------------

    def rng(self, z: int, prompt: SlicePrompt) -> np.random.Generator:
        words = np.asarray(prompt.points, np.float64).tobytes() + str(prompt.box).encode()
        return np.random.default_rng([self.seed, z, crc32(words)])

    def part(self, whole: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """A half of the object."""
        ys, xs = np.nonzero(whole)
        angle = rng.uniform(0, 2 * np.pi)
        along = (ys - ys.mean()) * np.sin(angle) + (xs - xs.mean()) * np.cos(angle)
        out = np.zeros_like(whole)
        keep = along > np.quantile(along, 0.45)
        out[ys[keep], xs[keep]] = True
        return out

    def too_much(self, z: int, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The object with all that touches it, or inflated."""
        parts = self.parts(z)
        touched = np.unique(parts[ndimage.binary_dilation(whole, EIGHT)])
        more = np.isin(parts, touched[touched > 0])
        radius = max(2, int(0.25 * np.sqrt(whole.sum() / np.pi)))
        return more if more.sum() > whole.sum() else ndimage.binary_dilation(whole, EIGHT, radius)

    def nothing_there(
        self, z: int, prompt: SlicePrompt, rng: np.random.Generator
    ) -> tuple[list[NDArray[np.bool_]], list[float]]:
        if self.off_target == "nothing":
            return [np.zeros(self.shape[1:], bool)], [0.1]
        if self.off_target == "background":
            return [self.parts(z) == 0], [0.4]
        return [self.blob(prompt, rng)], [0.3]

    def blob(self, prompt: SlicePrompt, rng: np.random.Generator) -> NDArray[np.bool_]:
        """A disc of any size somewhere near the prompt."""
        y, x = middle(prompt)
        radius = rng.uniform(4, 14)
        y, x = y + rng.uniform(-8, 8), x + rng.uniform(-8, 8)
        rows, columns = np.ogrid[: self.shape[1], : self.shape[2]]
        return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2

    def _window(self, masks: list[NDArray[np.bool_]], scores: list[float]) -> Candidates:
        stack, values = np.array(masks), np.array(scores)
        if not self.windowed or not stack.any():
            return Candidates(stack, values)
        ys, xs = np.nonzero(stack.any(0))
        y0, x0 = int(ys.min()), int(xs.min())
        return Candidates(stack[:, y0 : ys.max() + 1, x0 : xs.max() + 1], values, (y0, x0))


class NoisyOracle(Oracle):
    """On some slices every candidate is bad, and scores say little on all of them.

    Parameters
    ----------
    labels, seed
        As for `Oracle`.
    share : float
        Of the slices that are bad.
    kinds : sequence of str
        How candidates are bad: "blob", "shifted", "neighbour", "inflated", "empty".
    spare : int
        The slice that is never bad (the prompted one).
    """

    def __init__(
        self,
        labels: NDArray[np.int32],
        seed: int,
        share: float,
        kinds: Sequence[str] = ("blob", "shifted", "neighbour", "inflated", "empty"),
        spare: int = -1,
    ) -> None:
        super().__init__(labels, seed, "blob")
        rng = np.random.default_rng([seed, 77])
        count = max(1, round(share * len(labels)))
        slices = [z for z in range(len(labels)) if z != spare]
        bad = rng.choice(slices, size=count, replace=False)
        self.bad = {int(z): str(rng.choice(list(kinds))) for z in bad}

    def answer(self, z: int, prompt: SlicePrompt) -> tuple[list[NDArray[np.bool_]], list[float]]:
        rng = self.rng(z, prompt)
        masks, right = super().answer(z, prompt)
        if z in self.bad:
            masks = [self.spoilt(z, prompt, rng) for _ in range(3)]
            return masks, list(rng.uniform(0.3, 1, len(masks)))
        order = rng.permutation(len(masks))
        noise = rng.uniform(0.3, 1, len(masks))
        return [masks[k] for k in order], [0.2 * right[k] + 0.8 * noise[k] for k in order]

    def spoilt(self, z: int, prompt: SlicePrompt, rng: np.random.Generator) -> NDArray[np.bool_]:
        whole, parts = self.target(z, prompt), self.parts(z)
        kind = self.bad[z]
        if kind == "empty":
            return np.zeros(parts.shape, bool)
        if not whole.any() or kind == "blob":
            return self.blob(prompt, rng)
        radius = np.sqrt(whole.sum() / np.pi)
        if kind == "shifted":
            angle, by = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.4) * radius
            offset = (by * np.sin(angle), by * np.cos(angle))
            return ndimage.shift(whole.astype(np.uint8), offset, order=0) > 0
        if kind == "inflated":
            return ndimage.binary_dilation(whole, EIGHT, int(rng.uniform(0.4, 1.2) * radius))
        others = [v for v in np.unique(parts) if v and not (whole & (parts == v)).any()]
        if not others:
            return self.blob(prompt, rng)
        y, x = middle(prompt)
        near = min(others, key=lambda v: np.hypot(*(np.argwhere(parts == v).mean(0) - (y, x))))
        other = parts == near
        return other if rng.integers(2) else other | whole


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return int((a & b).sum()) / max(1, int((a | b).sum()))


def middle(prompt: SlicePrompt) -> tuple[float, float]:
    """The middle of the positive points or of the box."""
    if len(prompt.points):
        y, x = np.asarray(prompt.points)[np.asarray(prompt.point_labels) == 1].mean(0)
        return float(y), float(x)
    y0, x0, y1, x1 = prompt.box or (0, 0, 0, 0)
    return (y0 + y1) / 2, (x0 + x1) / 2


def box_iou(box: tuple[float, float, float, float], where: tuple[slice, slice]) -> float:
    y0, x0, y1, x1 = where[0].start, where[1].start, where[0].stop, where[1].stop
    h = min(box[2], y1) - max(box[0], y0)
    w = min(box[3], x1) - max(box[1], x0)
    both = max(0.0, h) * max(0.0, w)
    total = (box[2] - box[0]) * (box[3] - box[1]) + (y1 - y0) * (x1 - x0) - both
    return both / max(1.0, total)
