"""Where training images come from: what is drawn, how often, and from which files.

A ``Source`` draws one picture with its instance labels; ``augment.sample`` turns it into a tile as
the model sees it. Nothing about prompts lives here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.training import synthetic
from volseg.training.pictures import Labels, Picture, Pixels, entries, read_picture, stretch
from volseg.training.recipes import DEFAULT, shares
from volseg.training.sets import SETS, DataSet, Family, family

__all__ = ["Drawn", "Labels", "Pixels", "Source", "all_sources", "data_hash", "set_source"]

Drawn = tuple[Pixels, NDArray[np.integer[Any]]]
STRETCHED = 0.6  # of pictures are shown between percentiles, as volseg shows them; others as stored
LOW, HIGH = (0.0, 0.25, 0.5, 1.0), (99.0, 99.5, 99.8, 100.0)


@dataclass(frozen=True)
class Source:
    """One kind of training image.

    Attributes
    ----------
    name : str
        For reports.
    weight : float
        Its share of the training images, relative to the other sources.
    draw : callable
        ``draw(rng) -> (pixels, labels)``: uint8 (y, x) or (y, x, 3), and integer labels (y, x), or
        (3, y, x) where a click has several right answers: part, whole and group.
    background : bool
        Whether unlabelled pixels are truly background, so that a click there should score 0.
    files : tuple of Path
        What it was read from, for the data's hash.
    family : str or None
        The whole kind that it belongs to, see ``sets.FAMILIES``.
    """

    name: str
    weight: float
    draw: Callable[[Generator], Drawn]
    background: bool
    files: tuple[Path, ...] = field(default=(), repr=False)
    family: Family | None = None


def set_source(
    root: Path, declared: DataSet, weight: float, without: Family | None = None
) -> Source:
    """Make the source of a real set's training half.

    Parameters
    ----------
    root : Path
        The folder of real data.
    declared : DataSet
        Its declaration.
    weight : float
        Its share.
    without : str, optional
        The family that is left out; single pictures of a set may belong to it.

    Raises
    ------
    InputError
        Nothing of the set trains.
    """
    pictures = [
        _of_half(picture)
        for picture in (read_picture(declared, one) for one in entries(root, declared, "train"))
        if picture.labels.any()
        and (without is None or declared.stains != without or not picture.is_stained)
    ]
    if not pictures:
        raise InputError(f"nothing of {declared.name!r} trains: it is kept aside for validation")
    often = np.array([_share(picture) for picture in pictures])
    often /= often.sum()
    drawers = [_drawer(picture, declared.axes) for picture in pictures]

    def draw(rng: Generator) -> Drawn:
        return drawers[int(rng.choice(len(drawers), p=often))](rng)

    files = tuple(path for picture in pictures for path in picture.files)
    return Source(declared.name, weight, draw, declared.background, files, declared.family)


def _of_half(picture: Picture) -> Picture:
    """Keep of a volume only the slices of its half, so that no other can be drawn."""
    if not picture.is_volume:
        return picture
    part = slice(picture.slices.start, picture.slices.stop)
    return Picture(
        picture.name,
        picture.pixels[part].copy(),
        picture.labels[part].copy(),
        range(len(picture.slices)),
        None if picture.groups is None else picture.groups[part].copy(),
        picture.files,
    )


def _share(picture: Picture) -> float:
    """How often a picture is drawn: large ones show more, and stained tissue is rare among nuclei
    but unlike the rest.
    """
    if picture.is_volume:
        return 1000.0
    return math.sqrt(picture.labels.size) * (3.0 if picture.is_stained else 1.0)


def _drawer(picture: Picture, axes: tuple[int, ...]) -> Callable[[Generator], Drawn]:
    """Return what draws from one picture or volume."""
    labels = picture.labels
    if picture.groups is not None:
        labels = np.stack([np.zeros_like(labels), labels, picture.groups])
    if picture.is_volume:
        return _slices(picture.pixels, labels, axes)
    low, high = (
        np.percentile(picture.pixels[::3, ::3], LOW),
        np.percentile(picture.pixels[::3, ::3], HIGH),
    )

    def draw(rng: Generator) -> Drawn:
        pixels = picture.pixels
        if rng.random() < STRETCHED:
            darkest, brightest = rng.choice(low), rng.choice(high)
            if brightest > darkest + 4:
                pixels = stretch(pixels, float(darkest), float(brightest))
        return pixels, labels

    return draw


def _slices(
    pixels: Pixels, labels: NDArray[np.integer[Any]], axes: tuple[int, ...]
) -> Callable[[Generator], Drawn]:
    """Return what draws a slice with an object along one of the axes."""
    whole = labels[1] if labels.ndim == 4 else labels
    shown = [
        np.flatnonzero(whole.any(tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]

    def draw(rng: Generator) -> Drawn:
        axis = int(rng.choice(axes))
        index = int(rng.choice(shown[axis]))
        return np.take(pixels, index, axis), np.take(labels, index, axis - 3)

    return draw


Generated = tuple[NDArray[np.float32], NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Procedure:
    """How a procedural kind is made.

    Attributes
    ----------
    make : callable
        ``make(rng, shape) -> (image, labels)``: float32 in 0..1.
    background : bool
        See `Source`.
    family : str or None
        The real family that it imitates; it is left out together with that.
    """

    make: Callable[[Generator, tuple[int, ...]], Generated]
    background: bool
    family: Family | None = None


PROCEDURES = {
    "synthetic_nuclei": Procedure(synthetic.nuclei, True),
    "synthetic_membranes": Procedure(synthetic.membranes, False, "em_cells"),
    "synthetic_tissue": Procedure(synthetic.tissue, False, "ct_mr"),
    "synthetic_walls": Procedure(synthetic.walls, False),
    "synthetic_stained_cells": Procedure(synthetic.stained_cells, True),
    "synthetic_micrographs": Procedure(synthetic.micrographs, True, "em_cells"),
    "synthetic_fibres": Procedure(synthetic.fibres, True, "em_cells"),
    "synthetic_phase_cells": Procedure(synthetic.phase_cells, True, "phase"),
    "synthetic_phase_rods": Procedure(synthetic.phase_rods, True, "phase"),
    "synthetic_organs": Procedure(synthetic.organs, False, "ct_mr"),
    "synthetic_tubes": Procedure(synthetic.tubes, True),
    "synthetic_channels": Procedure(synthetic.channels, True),
    "synthetic_stained_tissue": Procedure(synthetic.stained_tissue, False, "histology"),
}


def whole_plane(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Return the plane (y, x) of whole objects out of labels (y, x) or (3, y, x)."""
    return labels[1] if labels.ndim == 3 else labels


def synthetic_source(name: str, weight: float) -> Source:
    """Make a source of procedural pictures of 256 x 256."""
    procedure = PROCEDURES[name]

    def draw(rng: Generator) -> Drawn:
        while True:
            image, labels = procedure.make(rng, (256, 256))
            if whole_plane(labels).any():
                return (image * 255).astype(np.uint8), labels

    return Source(name, weight, draw, procedure.background, (), procedure.family)


def all_sources(root: Path, without: str | None = None, recipe: str = DEFAULT) -> list[Source]:
    """Return the sources that ``nano`` trains on, with their shares.

    Parameters
    ----------
    root : Path
        The folder of real data, with ``split.json``.
    without : str, optional
        A family of kinds, see ``sets.FAMILIES``, of which nothing trains: neither its sets, nor
        single pictures of others, nor the procedural kinds that imitate it.
    recipe : str
        A table of shares, see ``recipes.RECIPES``.

    Raises
    ------
    InputError
        No such family or recipe, or the recipe names what validates.
    NotThereError
        Data or ``split.json`` are missing.
    """
    left_out = None if without is None else family(without)
    declared = {one.name: one for one in SETS}
    sources = []
    for name, weight in shares(recipe).items():
        if name in PROCEDURES:
            source_family = PROCEDURES[name].family
        elif name in declared:
            source_family = declared[name].family
        else:
            raise InputError(f"the recipe {recipe!r} names {name!r}, which is no kind of image")
        if left_out is not None and source_family == left_out:
            continue
        if name in PROCEDURES:
            sources.append(synthetic_source(name, weight))
        else:
            sources.append(set_source(root, declared[name], weight, left_out))
    return sources


def data_hash(sources: Sequence[Source]) -> str:
    """Return the SHA-256 over names and contents of every file that the sources were read from."""
    digest = hashlib.sha256()
    for source in sources:
        for path in source.files:
            digest.update(f"{path.parent.name}/{path.name}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
