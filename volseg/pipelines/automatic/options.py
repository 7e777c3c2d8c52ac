"""The options of automatic segmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volseg.options import Options
from volseg.pipelines.options import Channels, Model, Names


class AutoOptions(Options):
    """What is looked for and written; see `make_plan`."""

    labels: str = Field("objects", description="Name of the label image to write.")
    method: Literal["auto", "seeds", "regions"] = Field(
        "auto",
        description="seeds: separate objects, each proposed and followed; regions: tissue without gaps; auto: as the "
        "model's maps say.",
    )
    model: Model = Field("nano", description="Model with dense maps: its name, path or URL.")
    channel: Channels = Field(None, description="Channel index, or up to three: 0,1,2.")
    level: int = Field(0, ge=0, description="Pyramid level to work on.")
    time: int = Field(0, ge=0, description="Time point.")
    preprocess: Names = Field(
        (),
        description="Filters before the model sees a slice: denoise, clahe, sobel, canny, log; or none.",
    )
    size: float | None = Field(
        None, gt=0, description="Usual diameter of the objects in µm; by default found in the maps."
    )
    min_size: float | None = Field(
        None, gt=0, description="Objects of a smaller diameter, in µm, are left out."
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="Proposals that the maps are less sure of are left out."
    )
    overwrite: bool = Field(
        False, description="Replace what volseg wrote there; it is kept in the trash."
    )
    into_existing: bool = Field(
        False, description="Add to a label image; its objects and what people edited stay (seeds)."
    )
    overwrite_edits: bool = Field(
        False, description="With --into-existing or --overwrite: edits don't stay."
    )
