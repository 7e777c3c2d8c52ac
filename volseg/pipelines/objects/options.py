"""What is measured of objects, declared once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from volseg.errors import InputError
from volseg.features.tiling import MOST_ZOOM
from volseg.options import Options

MOST_RING = 32
MOST_PATCH = 256


def read_channels(given: Any) -> Any:
    """Read channels of any number: ``all``, ``none``, or indices such as ``0,2``.

    Raises
    ------
    InputError
        If a text is neither.
    """
    if given is None or given == "all":
        return None
    if given == "none":
        return ()
    if isinstance(given, int):
        return (given,)
    if not isinstance(given, str):
        return tuple(given)
    parts = [part.strip() for part in given.split(",")]
    if not all(part.isdigit() for part in parts):
        raise InputError(f"--channels {given!r}: expected all, none, or indices such as 0,2")
    return tuple(sorted({int(part) for part in parts}))


class FeatureOptions(Options):
    """Features of objects; see `volseg.measurement.definition`."""

    channels: Annotated[tuple[int, ...] | None, BeforeValidator(read_channels)] = Field(
        None, description="Channels whose brightness and texture count: all, none, or such as 0,2."
    )
    ring: int = Field(
        3,
        ge=1,
        le=MOST_RING,
        description="Width of the ring around an object, and of its edge, in voxels of the slice.",
    )
    embedding: str | None = Field(
        None, description="Also a model's embedding, averaged over each object: nano, …; or none."
    )
    zoom: float = Field(
        1.0, gt=0, le=MOST_ZOOM, description="With --embedding: model pixels per voxel."
    )


class PatchOptions(Options):
    """What a classifier that looks at pictures sees of each object."""

    size: int | None = Field(
        None, ge=4, le=MOST_PATCH, description="Voxels of a patch in y and x; else as objects need."
    )
    depth: int | None = Field(
        None, ge=1, le=MOST_PATCH, description="Voxels of a patch in z; else as objects need."
    )
