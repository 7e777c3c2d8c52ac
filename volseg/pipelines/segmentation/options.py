"""The options of a segment job."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from volseg.pipelines.options import LookOptions


def read_settings(given: Any) -> Any:
    """Read thresholds: those that are given, by name."""
    return given.model_dump() if isinstance(given, BaseModel) else given or {}


class SegmentOptions(LookOptions):
    """What is segmented and written; see `make_plan`."""

    labels: str | None = Field(None, description="Name of the label image to write.")
    settings: Annotated[dict[str, Any], BeforeValidator(read_settings)] = Field(
        {}, description="Thresholds of propagation; those left out are the model's own."
    )
    overwrite: bool = Field(
        False, description="Replace what volseg wrote there; it is kept in the trash."
    )
    into_existing: bool = Field(
        False, description="Add to a label image; what people edited stays."
    )
    overwrite_edits: bool = Field(
        False, description="With --into-existing or --overwrite: edits don't stay."
    )
