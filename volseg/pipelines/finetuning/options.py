"""Options of fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volseg.options import Options
from volseg.pipelines.options import Channels, Names, Zoom


class FinetuneOptions(Options):
    """What learns, from what, and how long."""

    part: Literal["decoder"] = Field(
        "decoder", description="What learns: decoder (masks and scores; the encoder stays)."
    )
    model: str = Field("nano", description="Model to start from: a name, or a folder.")
    corrected_only: bool = Field(
        False, description="Only objects that a person touched or accepted."
    )
    steps: int = Field(240, ge=1, le=100_000, description="Steps of training.")
    seed: int = Field(0, ge=0, description="Of what is random in it.")
    objects: int = Field(
        300, ge=1, le=100_000, description="Objects of all images at most, drawn at random."
    )
    slices: int = Field(3, ge=1, le=64, description="Slices of each object at most.")
    replay: int = Field(
        6, ge=0, le=256, description="Generated images to keep in mind, and as many to judge by."
    )
    channel: Channels = Field(None, description="Channel index, or up to three: 0,1,2.")
    zoom: Zoom = Field("auto", description="Model pixels per voxel: auto suits the objects.")
    preprocess: Names = Field(
        (), description="Filters before the model sees a slice, as in volseg segment."
    )
