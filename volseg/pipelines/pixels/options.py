"""Options of training and applying a classifier of voxels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from volseg.errors import InputError
from volseg.options import Options


def read_any_channels(given: Any) -> Any:
    """Read channels: an index, or any number of them in a text such as ``0,1,5``.

    Raises
    ------
    InputError
        If a text is neither.
    """
    if isinstance(given, int):
        return (given,)
    if not isinstance(given, str):
        return given
    parts = [part.strip() for part in given.split(",")]
    if not all(part.isdigit() for part in parts):
        raise InputError(f"--channel {given!r}: expected indices such as 0 or 0,1,5")
    return tuple(int(part) for part in parts)


AnyChannels = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...] | None, BeforeValidator(read_any_channels)
]


class PixelTrainOptions(Options):
    """What a classifier of voxels looks at."""

    channel: AnyChannels = Field(
        None, description="Channels to look at, such as 0 or 0,1,5; all of them by default."
    )
    embedding: str = Field(
        "nano",
        description="Model whose embedding and maps are looked at beside filters; none: filters alone.",
    )
    zoom: float = Field(
        1.0, gt=0, le=64, description="Model pixels per voxel, for --embedding; 1: as stored."
    )
    overwrite: bool = Field(False, description="Replace a classifier that is there.")


class PixelApplyOptions(Options):
    """What a classifier is applied to, and what is written."""

    labels: str = Field("classes", description="Label image of class numbers to write.")
    instances: str | None = Field(
        None, description="Also a label image of objects: the pieces of each class but background."
    )
    maps: str | None = Field(None, description="Also maps of this name: probabilities and entropy.")
    channel: AnyChannels = Field(
        None, description="Channels, as many as the classifier was trained on; all by default."
    )
    level: int = Field(0, ge=0, description="Pyramid level to work on.")
    time: int | None = Field(None, ge=0, description="Time point; all of them by default.")
    overwrite: bool = Field(
        False, description="Replace what volseg wrote there; label images are kept in the trash."
    )
    overwrite_edits: bool = Field(False, description="With --overwrite: also what people edited.")
