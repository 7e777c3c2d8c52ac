"""Pictures of a summary, one a feature."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from volseg.errors import ExistsError, explain
from volseg.pipelines.objects.box_plots import box_plot
from volseg.storage.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from volseg.pipelines.objects.summary import Summary


def write_plots(summary: Summary, folder: str) -> list[Path]:
    """Write box plots of a summary, an SVG file per feature, with a box for each class and group.

    Raises
    ------
    ExistsError
        The folder is a file.
    StorageError, InputError
        It can't be written.
    """
    place = os.path.expanduser(folder)
    if os.path.isfile(place):
        raise ExistsError(f"{place} is a file; give the name of a folder")
    try:
        os.makedirs(place, exist_ok=True)
    except OSError as error:
        raise explain(error) from error
    written = []
    for feature in dict.fromkeys(name for name, _, _ in summary.values):
        mine = {key[1:]: values for key, values in summary.values.items() if key[0] == feature}
        groups = {group for _, group in mine}
        boxes = {
            class_ if len(groups) == 1 else f"{class_} {group}": values
            for (class_, group), values in mine.items()
        }
        written.append(write_text(os.path.join(place, f"{feature}.svg"), box_plot(feature, boxes)))
    return written
