"""Options that kinds of work have in common: what is looked at, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from volseg.errors import InputError
from volseg.options import Options

MOST_CHANNELS = 3


def read_channels(given: Any) -> Any:
    """Read channels: an index, up to three of them, or a text such as ``0,1,2``.

    Raises
    ------
    InputError
        If a text is neither.
    """
    if not isinstance(given, str):
        return given
    parts = given.split(",")
    if len(parts) > MOST_CHANNELS or not all(part.strip().isdigit() for part in parts):
        raise InputError(f"--channel {given!r}: expected an index, or up to three such as 0,1")
    channels = [int(part) for part in parts]
    return channels[0] if len(channels) == 1 else channels


def read_zoom(given: Any) -> Any:
    """Read a zoom: a number, or ``auto``, which None means too.

    Raises
    ------
    InputError
        If it is neither.
    """
    from volseg.features.tiling import checked_zoom

    found = checked_zoom(given, "--zoom" if isinstance(given, str) else "zoom")
    return "auto" if found is None else found


def read_names(given: Any) -> Any:
    """Read names: several, or a text with commas between them; none in ``none``."""
    if not isinstance(given, str):
        return given
    return [name.strip() for name in given.split(",") if name.strip() not in ("", "none")]


def read_model(given: Any) -> Any:
    """Read a model: its name, path or URL, or what a plan says of one, as JSON values."""
    return given.model_dump(mode="json") if isinstance(given, BaseModel) else given


Channels = Annotated[int | list[Annotated[int, Field(ge=0)]] | None, BeforeValidator(read_channels)]
Zoom = Annotated[float | str, BeforeValidator(read_zoom)]
Names = Annotated[tuple[str, ...], BeforeValidator(read_names)]
Model = Annotated[str | dict[str, Any], BeforeValidator(read_model)]


class LookOptions(Options):
    """Which model looks at what, and how it is shown."""

    model: Model = Field("nano", description="Model name, checkpoint path or URL.")
    channel: Channels = Field(None, description="Channel index, or up to three: 0,1,2.")
    level: int = Field(0, ge=0, description="Pyramid level to work on.")
    time: int = Field(0, ge=0, description="Time point.")
    zoom: Zoom = Field(
        "auto",
        description="Model pixels per voxel: auto suits the prompted objects, 1 is as stored.",
    )
    preprocess: Names = Field(
        (),
        description="Filters before the model sees a slice: denoise, clahe, sobel, canny, log; or none.",
    )


class RunOptions(Options):
    """Where a job runs, and what becomes of one that was interrupted."""

    cluster: str | None = Field(None, description="local, tcp://… or tls://….")
    workers: int | None = Field(
        None, ge=1, description="Local workers; by default as the work needs."
    )
    device: str | None = Field(
        None,
        description="cpu, cuda or cuda:0, here and in local workers; a GPU where there is one.",
    )
    resume: bool = Field(False, description="Go on where a run was interrupted.")
    restart: bool = Field(False, description="Forget what an interrupted run did.")
    break_lease: bool = Field(False, description="Take the label image from a job.")

    @property
    def how(self) -> Mapping[str, bool]:
        """What becomes of a run that was interrupted, as `volseg.run` takes it."""
        return {"resume": self.resume, "restart": self.restart, "break_lease": self.break_lease}
