"""`volseg set-scale`: the voxel size of an image, corrected."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from volseg.cli.options import LabelsAt, Url

_LOG = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command("set-scale")(_set_scale)


def _set_scale(
    url: Url,
    z: Annotated[float, typer.Argument(metavar="Z", help="Voxel size along z in micrometres.")],
    y: Annotated[float, typer.Argument(metavar="Y", help="Along y.")],
    x: Annotated[float, typer.Argument(metavar="X", help="Along x.")],
    labels_at: LabelsAt = None,
) -> None:
    """Correct the voxel size of an image and its label images; voxels stay as they are."""
    from volseg.images.image import open_volume
    from volseg.images.scale_correction import set_scale
    from volseg.images.voxel_size import checked_size, oddness

    before = open_volume(url, labels_at)
    if odd := oddness(checked_size((z, y, x)), before.shape):
        _LOG.warning("%s; taken as given", odd)
    volume = set_scale(url, (z, y, x), labels_at)
    labels = ", ".join(volume.labels)
    typer.echo(
        f"{volume.location}: {_size(volume.scale)} µm a voxel (z, y, x), before {_size(before.scale)}"
        + (f"; labels {labels} follow" if labels else "")
    )


def _size(scale: tuple[float, float, float]) -> str:
    return " × ".join(f"{side:.9g}" for side in scale)
