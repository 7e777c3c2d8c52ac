"""`LabelLayer`: labels in a file, as they become one label image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Region

MAX_ID = 2**32 - 1
Piece = tuple[int, Region, NDArray[Any]]


@dataclass(frozen=True)
class LabelLayer:
    """The labels of one layer or channel of a file.

    Attributes
    ----------
    name
        As the file calls it; None where it has one layer without a name.
    shape
        (z, y, x) in voxels: of one of the volume's levels.
    n_times
        Number of time points.
    pieces
        Yields (time, region, ids) for each time and those regions in which there may be something; may be called again.
    channel
        Of the image, that the objects were seen in, as the file says.
    category
        What the objects are.
    objects
        What the file says of each: id, t, class, parent, confidence, annotator, modified.
    """

    name: str | None
    shape: tuple[int, int, int]
    n_times: int
    pieces: Callable[[list[Region]], Iterator[Piece]]
    channel: Any = None
    category: str | None = None
    objects: list[Any] = field(default_factory=list)


def check_ids(ids: NDArray[Any]) -> None:
    """Check that ids are none below 0 and none above `MAX_ID`.

    Raises
    ------
    InputError
    """
    if ids.size and ids.dtype.kind == "i" and int(ids.min()) < 0:
        raise InputError(f"the labels hold the negative id {int(ids.min())}; ids start at 1")
    if ids.size and int(ids.max()) > MAX_ID:
        raise InputError(f"the labels hold id {int(ids.max())}; ids go up to {MAX_ID}")
