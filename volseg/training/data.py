"""Where training images come from: real volumes and pictures, procedural ones, and the fixed split
between both halves.

A ``Source`` draws one picture with its instance labels; `sample` turns it into a tile as the model
sees it. Nothing about prompts lives here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from numpy.random import Generator
from numpy.typing import NDArray

from volseg.errors import InputError, NotThereError
from volseg.training import synthetic

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32]
NEVER_TRAINED = ("nuclei_ovule_1136",)
VALIDATION_PERCENT = 15
SLABS = {  # first slices of z train, those from the second number on validate; between them a gap
    "fibsem_medulla": (101, 105),
    "nuclei_stardist3d": (22, 24),
    "mr_cord_t1": (60, 63),
}


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
        ``draw(rng) -> (pixels, labels)``: uint8 (y, x) or (y, x, 3), and int32 (y, x).
    background : bool
        Whether unlabelled pixels are truly background, so that a click there should score 0.
    files : tuple of Path
        What it was read from, for the data's hash.
    """

    name: str
    weight: float
    draw: Callable[[Generator], tuple[Pixels, Labels]]
    background: bool
    files: tuple[Path, ...] = field(default=(), repr=False)


def is_validation(name: str) -> bool:
    """Tell whether the picture of this name is kept aside: a fixed 15 % by the hash of the name."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < VALIDATION_PERCENT


def picture_names(root: Path, *, validation: bool) -> list[str]:
    """List the names of the nuclei pictures of one half of the split, sorted."""
    folder = root / "nuclei_dsb2018"
    names = sorted(p.name.removesuffix(".labels.tif") for p in folder.glob("*.labels.tif"))
    if not names:
        raise NotThereError(
            f"no '*.labels.tif' in {folder}: training needs the data of shared/data; "
            "give its folder with --data"
        )
    return [name for name in names if is_validation(name) == validation]


def read_picture(root: Path, name: str) -> tuple[Pixels, Labels]:
    """Read one nuclei picture: uint8 (y, x) or (y, x, 3), and int32 labels (y, x)."""
    folder = root / "nuclei_dsb2018"
    pixels = tifffile.imread(folder / f"{name}.tif")
    labels = tifffile.imread(folder / f"{name}.labels.tif").astype(np.int32)
    if pixels.ndim == 3:
        pixels = pixels[..., :3]
    return np.ascontiguousarray(pixels.astype(np.uint8)), labels


def stretch(values: NDArray[np.generic], low: float, high: float) -> Pixels:
    """Map ``low``..``high`` to 0..255, clipping, as volseg's rendering does."""
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


def read_volume(root: Path, name: str) -> tuple[Pixels, Labels]:
    """Read a volume rendered by its own 0.5 and 99.5 percentiles: uint8 and int32, both (z, y,
    x).
    """
    folder = root / name
    if not (folder / "raw.tif").exists():
        raise NotThereError(
            f"no raw.tif in {folder}: training needs shared/data; give it with --data"
        )
    raw = tifffile.imread(folder / "raw.tif")
    labels = tifffile.imread(folder / "labels.tif").astype(np.int32)
    low, high = np.percentile(raw, (0.5, 99.5))
    return stretch(raw, float(low), float(high)), labels


def slab(name: str, depth: int, *, validation: bool) -> slice:
    """Return the slices (z) of a volume that belong to one half of the split; may be empty.

    A volume that never trains is all validation; one without a slab is all training.
    """
    if name in NEVER_TRAINED:
        return slice(0, depth) if validation else slice(0, 0)
    if name not in SLABS:
        return slice(0, 0) if validation else slice(0, depth)
    last, first = SLABS[name]
    return slice(first, depth) if validation else slice(0, last)


def volume_source(
    root: Path,
    name: str,
    weight: float,
    axes: Sequence[int] = (0, 1, 2),
    *,
    background: bool = True,
) -> Source:
    """Make a source of slices along the given axes through the training slab of a volume."""
    pixels, labels = read_volume(root, name)
    part = slab(name, len(pixels), validation=False)
    pixels, labels = pixels[part], labels[part]
    if not pixels.size:
        raise InputError(f"volume {name!r} is kept aside for validation and can't train")

    def draw(rng: Generator) -> tuple[Pixels, Labels]:
        while True:
            axis = int(rng.choice(axes))
            index = int(rng.integers(pixels.shape[axis]))
            truth = np.take(labels, index, axis)
            if truth.any():
                return np.take(pixels, index, axis), truth

    files = (root / name / "raw.tif", root / name / "labels.tif")
    return Source(name, weight, draw, background, files)


def picture_source(root: Path, weight: float) -> Source:
    """Make the source of the nuclei pictures that train; grey ones are rendered by percentiles half
    of the time.
    """
    names = picture_names(root, validation=False)
    pictures = [read_picture(root, name) for name in names]
    shares = np.array([_share(pixels) for pixels, _ in pictures])
    shares /= shares.sum()

    def draw(rng: Generator) -> tuple[Pixels, Labels]:
        while True:
            pixels, labels = pictures[int(rng.choice(len(pictures), p=shares))]
            if not labels.any():
                continue
            if rng.random() < 0.6:
                low, high = np.percentile(
                    pixels[::3, ::3], (rng.uniform(0, 1), rng.uniform(99, 100))
                )
                if high > low + 4:
                    pixels = stretch(pixels, float(low), float(high))
            return pixels, labels

    folder = root / "nuclei_dsb2018"
    files = tuple(folder / f"{n}{end}" for n in names for end in (".tif", ".labels.tif"))
    return Source("nuclei_dsb2018", weight, draw, True, files)


def _share(pixels: Pixels) -> float:
    """How often a picture is drawn: large ones show more, and stained tissue (a bright background,
    or colours) is rare but unlike the rest.
    """
    side = math.sqrt(pixels.shape[0] * pixels.shape[1])
    coloured = pixels.ndim == 3 and not np.array_equal(pixels[..., 0], pixels[..., 1])
    return side * (3.0 if coloured or pixels.mean() > 127 else 1.0)


Generated = tuple[NDArray[np.float32], Labels]


def synthetic_source(
    name: str,
    weight: float,
    make: Callable[[Generator, tuple[int, ...]], Generated],
    background: bool,
) -> Source:
    """Make a source of procedural pictures of 256 x 256."""

    def draw(rng: Generator) -> tuple[Pixels, Labels]:
        while True:
            image, labels = make(rng, (256, 256))
            if labels.any():
                return (image * 255).astype(np.uint8), labels

    return Source(name, weight, draw, background)


def all_sources(root: Path) -> list[Source]:
    """Return the sources that ``nano`` trains on, with their shares."""
    return [
        picture_source(root, 0.19),
        volume_source(root, "fibsem_medulla", 0.40),
        volume_source(root, "nuclei_ovule_1135", 0.14),
        volume_source(root, "nuclei_stardist3d", 0.07, (0, 0, 0, 1, 2)),
        volume_source(root, "mr_cord_t1", 0.02, background=False),
        synthetic_source("synthetic_nuclei", 0.10, synthetic.nuclei, True),
        synthetic_source("synthetic_membranes", 0.05, synthetic.membranes, False),
        synthetic_source("synthetic_tissue", 0.03, synthetic.tissue, False),
    ]


def data_hash(sources: Sequence[Source]) -> str:
    """Return the SHA-256 over names and contents of every file that the sources were read from."""
    digest = hashlib.sha256()
    for source in sources:
        for path in source.files:
            digest.update(f"{path.parent.name}/{path.name}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
