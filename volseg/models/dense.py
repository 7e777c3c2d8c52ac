"""The seam of dense models: what a tile's maps are called, what their numbers mean, and how they are asked for.

A promptable model answers about one object; a dense model says something of every pixel at once: whether it belongs
to an object, lies at an object's boundary, how deep inside it lies, and with which neighbours it shares an object.
What the maps of a labelled tile are *exactly* is computed in `dense_truth_maps`. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.models.spec import ModelSpec

Offset = tuple[int, int, int]

DEPTH_REACH = 128  # pixels of the tile: an object as deep as that, or deeper, has depth 1
NEAR = ((0, 1, 0), (0, 0, 1))
FAR = tuple(
    (0, dy, dx) for step in (3, 9, 20)
    for dy, dx in ((step, 0), (0, step), (step, step), (step, -step))
)  # fmt: skip
PLANAR_OFFSETS: tuple[Offset, ...] = NEAR + FAR
NEXT_SLICE: Offset = (1, 0, 0)


@dataclass(frozen=True)
class MapSpec:
    """One of a dense model's maps.

    Parameters
    ----------
    name : str
        ``foreground``, ``boundary``, ``depth``, or ``affinity z y x`` with the offset's numbers; other models may
        have others.
    offset : (int, int, int) or None
        Of an affinity: from a pixel of the map to its partner, z in slices, y and x in pixels of the map. None for
        the other maps.
    """

    name: str
    offset: Offset | None = None


def affinity(offset: Offset) -> MapSpec:
    """The map of affinities to the partner at an offset: ``affinity +0 +3 -3``."""
    return MapSpec("affinity {:+d} {:+d} {:+d}".format(*offset), offset)


MAPS: tuple[MapSpec, ...] = (
    MapSpec("foreground"), MapSpec("boundary"), MapSpec("depth"),
    *(affinity(offset) for offset in PLANAR_OFFSETS), affinity(NEXT_SLICE),
)  # fmt: skip
"""The maps of ``nano``'s dense model, in the order in which they are stacked."""


@dataclass(frozen=True)
class DenseSpec:
    """What is known of a dense model without running it.

    Parameters
    ----------
    name : str
        For people, logs and tables.
    sha256 : str
        Digest of its weights, lower-case hex; of a model made from truth, of what it is made from.
    parent_sha256 : str or None
        Digest of the promptable model's weights whose embeddings it takes; None where it takes none.
    img_size : int
        Side of a tile in pixels, as the promptable model sees it.
    embedding : (int, int, int)
        Channels, height and width of the embedding.
    stride : int
        Pixels of the tile per pixel of the maps.
    maps : tuple of MapSpec
        In the order in which they are stacked.
    """

    name: str
    sha256: str
    parent_sha256: str | None
    img_size: int
    embedding: tuple[int, int, int]
    stride: int = 2
    maps: tuple[MapSpec, ...] = MAPS

    @property
    def map_size(self) -> int:
        """Side of a tile's maps in pixels."""
        return self.img_size // self.stride

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """The affinities' offsets (z, y, x), in the maps' order."""
        return tuple(m.offset for m in self.maps if m.offset is not None)

    def index(self, name: str) -> int:
        """The place of a map in the stack.

        Raises
        ------
        InputError
            The model has no such map.
        """
        names = [m.name for m in self.maps]
        if name not in names:
            raise InputError(f"{self.name} has no map {name!r}; it has {', '.join(names)}")
        return names.index(name)

    def indices(self, names: Iterable[str]) -> list[int]:
        """As `index`, for several."""
        return [self.index(name) for name in names]

    def check_parent(self, model: ModelSpec) -> None:
        """Refuse embeddings of another model than the one that it was trained on.

        Raises
        ------
        InputError
            The weights differ.
        """
        if self.parent_sha256 is not None and model.encoder_sha256 != self.parent_sha256:
            raise InputError(
                f"the dense model {self.name} was trained on embeddings of the weights {self.parent_sha256}, "
                f"but {model.name} has {model.encoder_sha256}: use the model that it belongs to, or train it anew with "
                "'python -m volseg.training.dense'"
            )


@dataclass(frozen=True)
class Place:
    """Where a run of slices of a tile lies; what is learned from pixels does not look at it.

    Parameters
    ----------
    z : int
        The first slice.
    y0, x0 : int
        First voxel of the tile.
    size : int
        Side of the tile in voxels; it may reach beyond the slice.
    """

    z: int
    y0: int
    x0: int
    size: int


class DenseModel(Protocol):
    """Gives the maps of tiles."""

    @property
    def spec(self) -> DenseSpec:
        """What it is."""
        ...

    def maps(
        self, pixels: NDArray[np.uint8], embeddings: NDArray[np.float16], place: Place
    ) -> NDArray[np.float32]:
        """Compute the maps of consecutive slices of one tile.

        Every slice's maps depend on that slice alone, but for the affinity to the next one, which depends on both.
        That of the last slice given is 0: give one slice more where it is needed, and drop the last.

        Parameters
        ----------
        pixels : ndarray (z, 3, S, S) uint8
            Rendered as the promptable model's encoder sees them, S being `DenseSpec.img_size`; z at least 1.
        embeddings : ndarray (z, C, E, E) float16
            The promptable model's, of the same pixels, rounded to float16 as the cache rounds them.
        place : Place
            Where they lie.

        Returns
        -------
        ndarray (z, m, S / stride, S / stride) float32
            Values in 0..1, in the order of `DenseSpec.maps`. An affinity stands at the first pixel of its pair.

        Raises
        ------
        InputError
            Shapes or dtypes are not as said.
        """
        ...


def check_inputs(
    spec: DenseSpec, pixels: NDArray[np.generic], embeddings: NDArray[np.generic]
) -> None:
    """Refuse what `DenseModel.maps` can't take.

    Raises
    ------
    InputError
        Naming what was expected.
    """
    size = spec.img_size
    if pixels.ndim != 4 or not len(pixels) or pixels.shape[1:] != (3, size, size):
        raise InputError(f"pixels must be (z, 3, {size}, {size}), z > 0, not {pixels.shape}")
    if pixels.dtype != np.uint8:
        raise InputError(f"pixels must be uint8, not {pixels.dtype}")
    wanted = (len(pixels), *spec.embedding)
    if embeddings.shape != wanted or embeddings.dtype != np.float16:
        raise InputError(
            f"embeddings must be {wanted} float16, not {embeddings.shape} {embeddings.dtype}"
        )


def depth_of_distance(distance: NDArray[np.floating]) -> NDArray[np.float32]:
    """The depth map's value for a distance.

    ``log(1 + distance) / log(1 + 128)``, at most 1: equal steps of depth are equal *ratios* of distance, so that
    one threshold of prominence tells two maxima apart in small and in large objects.

    Parameters
    ----------
    distance : ndarray
        In pixels of the tile: 0 outside objects, 1 on an object's outermost pixels.
    """
    scaled = np.log1p(distance) / np.float32(math.log1p(DEPTH_REACH))
    return np.minimum(scaled, 1).astype(np.float32)


def distance_of_depth(depth: NDArray[np.floating]) -> NDArray[np.float32]:
    """The distance to the object's edge, in pixels of the tile, that a depth stands for: `depth_of_distance` turned
    round.
    """
    return np.expm1(np.asarray(depth, np.float32) * np.float32(math.log1p(DEPTH_REACH)))
