"""Neighbouring slices of volumes that train, seen alike: what affinities to the next slice are learned from.

Both slices go through one and the same zoom, turn, flip and exposure; only part of their noise differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.training import synthetic
from volseg.training.augment import SIZE, Tile, photometric, place
from volseg.training.pictures import Labels, Picture, Pixels, entries, read_picture
from volseg.training.sets import data_set

Stored = NDArray[np.integer[Any]]
Slices = tuple[Pixels, Stored, Pixels, Stored]
LARGEST = 640  # pixels of a slice's sides
FARTHEST = 3
"""Slices of fine volumes are skipped now and then, as if they had been cut more coarsely."""


@dataclass(frozen=True)
class PairSource:
    """One kind of volume.

    Attributes
    ----------
    name : str
        For reports.
    weight : float
        Its share of the pairs, relative to the other sources.
    draw : callable
        ``draw(rng)`` gives uint8 and integer labels (y, x) of one slice, then of one next to it.
    background : bool
        Whether unlabelled pixels are truly background.
    """

    name: str
    weight: float
    draw: Callable[[Generator], Slices]
    background: bool


VOLUMES = {  # name: share of the pairs, and how many slices apart a pair may be
    "fibsem_medulla": (0.35, FARTHEST),
    "nuclei_ovule_1135": (0.2, FARTHEST),
    "nuclei_stardist3d": (0.1, 1),
    "em_chloroplast": (0.05, 1),
    "ct_organs": (0.05, 1),
    "mr_cord_t1": (0.02, 2),
}


def all_pair_sources(root: Path) -> list[PairSource]:
    """Return the volumes whose neighbouring slices train.

    Parameters
    ----------
    root : Path
        The folder of real data, with ``split.json``.
    """
    real = [
        volume_pairs(root, name, weight, farthest=farthest)
        for name, (weight, farthest) in VOLUMES.items()
    ]
    return [
        *real,
        generated_pairs("synthetic_nuclei", 0.18, synthetic.nuclei, background=True),
        generated_pairs("synthetic_membranes", 0.05, synthetic.membranes, background=False),
    ]


def volume_pairs(root: Path, name: str, weight: float, *, farthest: int = 1) -> PairSource:
    """Make a source of neighbouring slices of those volumes of a set that train, along the set's axes.

    Parameters
    ----------
    root : Path
        The folder of real data.
    name : str
        The set.
    weight : float
        Its share.
    farthest : int
        A pair is at most so many slices apart.

    Raises
    ------
    InputError
        No two neighbouring slices of it train.
    """
    declared = data_set(name)
    listed = [one for one in entries(root, declared, "train") if len(one.slices) > 1]
    if not listed:
        raise InputError(f"no slices of {name!r} next to each other train")
    draws = [_neighbours(read_picture(declared, one), declared.axes, farthest) for one in listed]

    def draw(rng: Generator) -> Slices:
        return draws[int(rng.integers(len(draws)))](rng)

    return PairSource(name, weight, draw, declared.background)


def _neighbours(
    volume: Picture, axes: Sequence[int], farthest: int
) -> Callable[[Generator], Slices]:
    """Return what draws neighbouring slices of the part of a volume that trains."""
    part = slice(volume.slices.start, volume.slices.stop)
    pixels, labels = volume.pixels[part].copy(), volume.labels[part].copy()

    def draw(rng: Generator) -> Slices:
        axis = int(rng.choice(axes))
        count = labels.shape[axis]
        apart = int(rng.integers(1, min(farthest, count - 1) + 1))
        index = int(rng.integers(count - apart))
        here, there = (index, index + apart) if rng.random() < 0.5 else (index + apart, index)
        return (
            np.take(pixels, here, axis), np.take(labels, here, axis),
            np.take(pixels, there, axis), np.take(labels, there, axis),
        )  # fmt: skip

    return draw


def generated_pairs(
    name: str,
    weight: float,
    make: Callable[..., tuple[NDArray[np.float32], Stored]],
    *,
    background: bool,
) -> PairSource:
    """Make a source of two slices of procedural volumes, one to five pixels apart."""

    def draw(rng: Generator) -> Slices:
        apart = float(rng.uniform(1, 5))
        image, labels = make(rng, (2, SIZE, SIZE), spacing=(apart, 1.0, 1.0))
        pixels = (image * 255).astype(np.uint8)
        return pixels[0], labels[0], pixels[1], labels[1]

    return PairSource(name, weight, draw, background)


def sample_pair(rng: Generator, source: PairSource) -> tuple[Tile, Tile]:
    """Draw two neighbouring slices and turn them into tiles that lie upon each other, the first with at least one
    object.
    """
    while True:
        pixels, labels, other, other_labels = _window(rng, source.draw(rng))
        both, table = _joined(labels, other_labels)
        if not both.any():
            continue
        image, placed = place(rng, np.stack([pixels, other, other], -1), both)
        here, there = table[0][placed], table[1][placed]
        if here.any():
            break
    seed = int(rng.integers(2**32))
    grain = rng.uniform(0, 0.05)
    views = []
    for plane in (image[0], image[1]):
        shown = photometric(default_rng(seed), np.stack([plane] * 3))
        noise = grain * rng.standard_normal(plane.shape, dtype=np.float32)
        views.append(np.clip(shown + noise, 0, 1).astype(np.float32) * 255)
    return (
        Tile(views[0], here, source.background, source.name),
        Tile(views[1], there, source.background, source.name),
    )


def _window(rng: Generator, slices: Slices) -> Slices:
    """Cut large slices, at one random place, to what a tile can show."""
    starts = [int(rng.integers(max(0, length - LARGEST) + 1)) for length in slices[0].shape]
    window = tuple(slice(start, start + LARGEST) for start in starts)
    pixels, labels, other, other_labels = slices
    return pixels[window], labels[window], other[window], other_labels[window]


def _joined(here: Stored, there: Stored) -> tuple[Labels, tuple[Labels, Labels]]:
    """One label image of both, whose ids look up a label in each: so that both are placed alike."""
    keys = here.astype(np.int64) * (int(there.max()) + 1) + there
    found, inverse = np.unique(np.append(keys.ravel(), 0), return_inverse=True)
    ids = (
        inverse[:-1].reshape(here.shape).astype(np.int32)
    )  # key 0, background in both, sorts first
    radix = int(there.max()) + 1
    return ids, ((found // radix).astype(np.int32), (found % radix).astype(np.int32))
