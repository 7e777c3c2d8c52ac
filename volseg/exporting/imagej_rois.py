"""ImageJ ROIs: a set for the ROI Manager, one ROI per object and slice, through roifile."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import StorageError
from volseg.exporting.outlines import SliceOutline, outlines_of
from volseg.exporting.selection import Selection
from volseg.images.objects import color_of
from volseg.progress import Progress

_MOST_GROUPS = 255


def write_rois(
    selections: list[Selection], path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write a `.zip` of ROIs that `volseg import-labels` reads back as the same labels.

    An object of one part without holes is a traced ROI, others are composite ones. Each knows its slice, and channel
    and frame where there are several; classes are groups, and stand with ids and layers in the ROI's properties.
    """
    kinds = sorted({r.class_ for one in selections for r in one.rows.values() if r.class_})
    groups = {kind: n for n, kind in enumerate(kinds[:_MOST_GROUPS], 1)}
    written = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for selection in selections:
            for outline in outlines_of(selection, progress):
                roi = _roi(outline)
                _describe(roi, outline, selection, groups, len(selections) > 1)
                archive.writestr(f"{roi.name}.roi", roi.tobytes())
                written += 1
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None or len(archive.namelist()) != written:
            raise StorageError(f"{path}: reads back differently than it was written; try again")


def _roi(outline: SliceOutline) -> Any:
    from roifile import ROI_TYPE, ImagejRoi

    if len(outline.polygons) == 1 and len(outline.polygons[0]) == 1:
        corners = outline.polygons[0][0]
        roi = ImagejRoi.frompoints(corners)
        roi.roitype = ROI_TYPE.TRACED
        roi.right, roi.bottom = (int(n) for n in corners.max(axis=0))
        return roi
    rings = [ring for polygon in outline.polygons for ring in polygon]
    path: list[float] = []
    for ring in rings:
        for at, (x, y) in enumerate(ring.tolist()):
            path += [1.0 if at else 0.0, x, y]
        path.append(4.0)
    corners = np.concatenate(rings)
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    roi.left, roi.top = (int(n) for n in corners.min(axis=0))
    roi.right, roi.bottom = (int(n) for n in corners.max(axis=0))
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def _describe(
    roi: Any, outline: SliceOutline, selection: Selection, groups: dict[str, int], layered: bool
) -> None:
    """Name, slice, class, colour and identity of a ROI."""
    labels = selection.labels
    several = selection.volume.n_times > 1
    channel = labels.channel if isinstance(labels.channel, int) else None
    layer = "".join(c if c < "\U00010000" else "_" for c in f"{labels.name}-") if layered else ""
    time = f"-t{outline.time:04d}" if several else ""
    roi.name = f"{layer}{outline.id:05d}{time}-z{outline.z:04d}"
    roi.position = 0 if several else outline.z + 1
    roi.z_position = outline.z + 1
    roi.t_position = outline.time + 1 if several else 0
    if channel is not None and selection.volume.n_channels > 1:
        roi.c_position = channel + 1
    kind = outline.kind
    roi.group = groups.get(kind or "", 0)
    roi.stroke_color = bytes([255, *color_of(outline.id)[:3]])
    told = {
        "volseg.id": outline.id,
        "volseg.layer": json.dumps(labels.name),
        "volseg.class": json.dumps(kind) if kind else None,
        "volseg.channel": channel,
    }
    roi.props = "".join(f"{key}: {value}\n" for key, value in told.items() if value is not None)
