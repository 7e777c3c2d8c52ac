"""Pictures and volumes of the real sets with their truth, read one half of the split at a time.

Nothing here is random, and nothing knows of tiles or prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels

from volseg.errors import InputError, NotThereError
from volseg.training.sets import DataSet
from volseg.training.split import Half, Split, read_split, stem

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32]
Stored = NDArray[np.unsignedinteger[Any]]
RENDERED = (0.5, 99.5)
"""Percentiles between which volseg shows grey pictures and volumes."""
MATRIX = 0.1
"""A component of a class larger than this part of its picture is what holds the others, not one of
them."""
SHEATH_PIXELS = 24


@dataclass(frozen=True)
class Picture:
    """One picture or volume.

    Attributes
    ----------
    name : str
        Its file's name without ending.
    pixels : ndarray of uint8
        (y, x), (y, x, 3) or (z, y, x); volumes are rendered by their own percentiles.
    labels : ndarray of unsigned int
        (y, x) or (z, y, x) instances; 0 where nothing is labelled.
    slices : range
        The slices (z) of one half of the split; of a picture its only one.
    groups : ndarray of unsigned int or None
        Like ``labels``: a larger whole around each object, where the set knows one.
    files : tuple of Path
        What it was read from.
    """

    name: str
    pixels: Pixels
    labels: Stored
    slices: range
    groups: Stored | None = None
    files: tuple[Path, ...] = ()

    @property
    def is_volume(self) -> bool:
        """Whether it has slices along z."""
        return self.labels.ndim == 3

    @property
    def is_coloured(self) -> bool:
        """Whether its channels differ."""
        return self.pixels.ndim > self.labels.ndim

    @property
    def is_stained(self) -> bool:
        """Whether it looks like stained tissue: coloured, or dark on bright."""
        return self.is_coloured or float(self.pixels.mean()) > 127

    def planes(self, every: int = 1) -> Iterator[tuple[Pixels, Stored]]:
        """Yield pixels and labels (y, x) of every so manieth slice of its half."""
        for z in self.slices[::every]:
            yield (self.pixels[z], self.labels[z]) if self.is_volume else (self.pixels, self.labels)


@dataclass(frozen=True)
class Entry:
    """A picture or volume that isn't read yet.

    Attributes
    ----------
    name : str
        Its file's name without ending.
    path : Path
        Its file.
    slices : range
        The slices (z) that belong to one half of the split, not empty; of a picture its only one.
    is_volume : bool
        Whether it has slices along z.
    """

    name: str
    path: Path
    slices: range
    is_volume: bool


def entries(root: Path, declared: DataSet, half: Half, split: Split | None = None) -> list[Entry]:
    """List what belongs to one half of the split, sorted by name; only headers are read.

    Raises
    ------
    NotThereError
        The folder or ``split.json`` is missing.
    """
    split = split or read_split(root)
    found = []
    for name, path in picture_files(root / declared.name).items():
        with tifffile.TiffFile(path) as file:
            shape = file.series[0].shape
        is_volume = len(shape) == 3 and shape[-1] > 4
        slices = split.slices(declared.name, name, shape[0] if is_volume else 1, half)
        if slices:
            found.append(Entry(name, path, slices, is_volume))
    return found


def picture_files(folder: Path) -> dict[str, Path]:
    """Find a set's pictures: name without ending to file, sorted.

    Raises
    ------
    NotThereError
        There are none.
    """
    found = {
        stem(path.name): path
        for path in sorted(folder.glob("*.tif"))
        if path.name != "labels.tif" and not path.name.endswith((".labels.tif", ".semantic.tif"))
    }
    if not found:
        raise NotThereError(
            f"no pictures in {folder}: training and validation need the data of shared/data; "
            "give its folder with --data"
        )
    return found


def stretch(values: NDArray[np.generic], low: float, high: float) -> Pixels:
    """Map ``low``..``high`` to 0..255, clipping, as volseg's rendering does."""
    if values.dtype == np.uint8:  # a table is many times faster than arithmetic on every pixel
        return stretch(np.arange(256, dtype=np.float32), low, high)[values]
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


def rendered(pixels: Pixels) -> Pixels:
    """Show a grey picture (y, x) as volseg does, by its percentiles; colours stay as they are."""
    if pixels.ndim == 3:
        return pixels
    low, high = np.percentile(pixels, RENDERED)
    return stretch(pixels, float(low), float(high))


def components(classes: NDArray[np.integer[Any]], chosen: tuple[int, ...]) -> Stored:
    """Number the connected components (y, x) of some classes; what holds the others stays 0."""
    labels = np.zeros(classes.shape, np.uint16)
    for one in chosen:
        parts, _ = ndimage.label(classes == one)
        sizes = np.bincount(parts.ravel())
        kept = (sizes >= 30) & (sizes <= MATRIX * classes.size)
        kept[0] = False
        numbers = np.zeros(len(sizes), np.uint16)
        numbers[kept] = labels.max() + 1 + np.arange(kept.sum())
        labels += numbers[parts]
    return labels


def with_sheath(labels: Stored, sheath: NDArray[np.bool_]) -> Stored:
    """Give each object the pixels (y, x) of the sheath that are nearest to it."""
    grown = expand_labels(labels, SHEATH_PIXELS)
    return np.where(sheath | (labels > 0), grown, 0).astype(labels.dtype)


def read_picture(declared: DataSet, entry: Entry) -> Picture:
    """Read one picture or volume of a set with its truth.

    A volume is read whole, because its rendering needs all of it; its ``slices`` say what may be
    used.

    Raises
    ------
    NotThereError
        The truth is missing.
    InputError
        Picture and truth differ in shape, or a 2D picture isn't uint8.
    """
    path = entry.path
    pixels = tifffile.imread(path)
    truth = _truth_file(declared, entry.name, path)
    labels = tifffile.imread(truth)
    files = [path, truth]
    if declared.classes:
        labels = components(labels, declared.classes)
    groups = None
    if declared.sheath is not None:
        files.append(path.with_name(f"{entry.name}.semantic.tif"))
        groups = with_sheath(labels, tifffile.imread(files[-1]) == declared.sheath)
    if entry.is_volume:
        low, high = np.percentile(pixels, RENDERED)
        pixels = stretch(pixels, float(low), float(high))
    elif pixels.dtype != np.uint8:
        raise InputError(f"{path} is {pixels.dtype}; a picture must be uint8")
    elif pixels.ndim == 3:
        pixels = pixels[..., :3]
        if (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
    if pixels.shape[: labels.ndim] != labels.shape:
        raise InputError(f"{path} is {pixels.shape}, but its truth {truth} is {labels.shape}")
    return Picture(
        entry.name,
        np.ascontiguousarray(pixels),
        smallest_type(labels),
        entry.slices,
        groups,
        tuple(files),
    )


def _truth_file(declared: DataSet, name: str, path: Path) -> Path:
    ending = "semantic.tif" if declared.classes else "labels.tif"
    truth = path.with_name(f"{name}.{ending}")
    if not truth.exists() and name == "raw":
        truth = path.with_name(ending)
    if not truth.exists():
        raise NotThereError(f"{path} has no truth beside it: {truth} is missing")
    return truth


def smallest_type(labels: NDArray[np.generic]) -> Stored:
    """Keep labels as uint8 or uint16 where their numbers allow, else as uint32."""
    kept: Stored = np.ascontiguousarray(labels.astype(np.min_scalar_type(int(labels.max()))))
    return kept
