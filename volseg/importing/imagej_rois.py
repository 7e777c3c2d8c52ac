"""ImageJ's ROIs: one `.roi`, or a `.zip` of the ROI Manager, through roifile. What encloses an area becomes labels."""

from __future__ import annotations

import json
import logging
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, printable, reading, shown
from volseg.importing.label_layer import LabelLayer
from volseg.importing.shapes import Drawn, Outline, layers_of

if TYPE_CHECKING:
    from volseg.images.image import Volume

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 2**31
_CORNER_POINTS = 16
_KNOT_POINTS = 10
_MANAGER_NAME = re.compile(r"^(\d{4,})-\d{4,}-\d{4,}")
"""As the ROI Manager names ROIs of a stack: slice, y, x."""


def open_rois(path: Path, volume: Volume) -> list[LabelLayer]:
    """Read a ROI set as label layers: one, or one per channel where ROIs are on several.

    Rectangles (rounded, rotated), ovals, ellipses, polygons, splines, freehand and traced ROIs and composite ones with
    holes are areas; lines, points and texts are left out with a warning. The slice is that of the ROI's position
    (channel, slice, frame; or the number of the image in the stack; or that of the ROI Manager's name). Classes are
    those that volseg wrote, else the ROI's group.

    Raises
    ------
    UnsupportedFormatError
        If the file is damaged, no ROI encloses an area, or one of a stack tells no slice.
    InputError
        If one lies outside the volume.
    """
    with reading(path, "ImageJ ROI file"):
        found = _read(path)
        areas = [(roi, outline) for roi in found if (outline := _outline(roi)) is not None]
    if not areas:
        raise UnsupportedFormatError(
            f"{shown(path)}: none of its {len(found)} ROIs encloses an area; lines and points are no labels"
        )
    if len(areas) < len(found):
        _LOG.warning(
            "%s: %d of %d ROIs enclose no area (lines, points, texts) and are left out",
            shown(path), len(found) - len(areas), len(found),
        )  # fmt: skip
    drawn = [_drawn(path, roi, outline, volume) for roi, outline in areas]
    return layers_of(drawn, volume.shape, volume.n_times)


def _read(path: Path) -> list[Any]:
    import roifile

    if not zipfile.is_zipfile(path):
        return [roifile.ImagejRoi.frombytes(path.read_bytes())]
    rois = []
    with zipfile.ZipFile(path) as archive:
        entries = [
            one
            for one in archive.infolist()
            if one.filename.lower().endswith(".roi")
            and not PurePosixPath(one.filename).name.startswith("._")  # macOS packs these too
        ]
        total = sum(one.file_size for one in entries)
        check_size(path, total, min(path.stat().st_size, _MOST_BYTES), compressed=True)
        for entry in entries:
            roi = roifile.ImagejRoi.frombytes(archive.read(entry))
            roi.name = roi.name or Path(entry.filename).stem
            rois.append(roi)
    if not rois:
        raise UnsupportedFormatError(f"{shown(path)}: no .roi in this archive")
    return rois


def _outline(roi: Any) -> Outline | None:
    """The area that a ROI encloses, None where it encloses none."""
    from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE

    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE):
        return None
    if roi.composite:
        rings = tuple(ring for ring in roi.coordinates(multi=True) if len(ring) > 2)
        return Outline(tuple(ring.astype(np.float64) for ring in rings)) if rings else None
    left, top, width, height = roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top
    if roi.subpixelrect:
        left, top, width, height = roi.xd, roi.yd, roi.widthd, roi.heightd
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        if width <= 0 or height <= 0:
            return None
        if roi.roitype == ROI_TYPE.OVAL:
            half = (width / 2, height / 2)
            return Outline(ellipse=(left + half[0], top + half[1], *half))
        return Outline((_rectangle(left, top, width, height, roi.rounded_rect_arc_size),))
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        corners = np.asarray(roi.coordinates(), np.float64)
        if len(corners) < 3:
            return None
        smooth = roi.roitype == ROI_TYPE.POLYGON and roi.options & ROI_OPTIONS.SPLINE_FIT
        return Outline((_spline(corners) if smooth else corners,))
    return None


def _rectangle(left: float, top: float, width: float, height: float, arc: float) -> NDArray[Any]:
    """Corners of a rectangle whose own corners are quarters of ellipses of diameter `arc`."""
    rx, ry = min(arc, width) / 2, min(arc, height) / 2
    if rx <= 0:
        right, bottom = left + width, top + height
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    parts = []
    for quarter, (x, y) in enumerate(
        [(left + width - rx, top + height - ry), (left + rx, top + height - ry),
         (left + rx, top + ry), (left + width - rx, top + ry)]
    ):  # fmt: skip
        angle = np.linspace(quarter, quarter + 1, _CORNER_POINTS) * np.pi / 2
        parts.append(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1))
    return np.concatenate(parts)


def _spline(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed cubic spline through the knots, as ImageJ draws a fitted polygon."""
    from scipy.interpolate import CubicSpline

    closed = np.concatenate([knots, knots[:1]])
    curve = CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")
    return np.asarray(curve(np.linspace(0, len(knots), len(knots) * _KNOT_POINTS, endpoint=False)))


def _drawn(path: Path, roi: Any, outline: Outline, volume: Volume) -> Drawn:
    z, t, channel = _place(path, roi, volume)
    told = dict(roi.properties) if roi.props else {}
    number = str(told.get("volseg.id", ""))
    class_ = _text(told.get("volseg.class")) or (f"group {roi.group}" if roi.group > 0 else None)
    own = str(told.get("volseg.channel", ""))
    return Drawn(
        outline,
        z,
        t,
        name=roi.name,
        id=int(number) if number.isdigit() and int(number) > 0 else None,
        class_=class_,
        layer=_text(told.get("volseg.layer")),
        channel=int(own) if own.isdigit() else channel,
    )


def _text(value: Any) -> str | None:
    """A text that volseg wrote into the properties, as JSON since properties are lines."""
    if not isinstance(value, str):
        return None
    found = json.loads(value) if value.startswith('"') else value
    return str(found) or None


def _place(path: Path, roi: Any, volume: Volume) -> tuple[int, int, int | None]:
    """Slice, time and channel of a ROI, from 0; the channel is None where the ROI is of all."""
    depth, channels = volume.shape[0], volume.n_channels
    c, z, t = roi.c_position, roi.z_position, roi.t_position
    if c > 0 or z > 0 or t > 0:
        if z <= 0 and depth > 1:
            raise _no_slice(path, roi)
        return max(z, 1) - 1, max(t, 1) - 1, c - 1 if c > 0 and channels > 1 else None
    number = roi.position
    if number <= 0 and (found := _MANAGER_NAME.match(roi.name)):
        number = int(found.group(1))
    if number <= 0:
        if depth * volume.n_times > 1:
            raise _no_slice(path, roi)
        number = 1
    if number <= depth * volume.n_times:  # a stack without channels
        return (number - 1) % depth, (number - 1) // depth, None
    rest, c = divmod(number - 1, channels)
    return rest % depth, rest // depth, c


def _no_slice(path: Path, roi: Any) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f'{shown(path)}: ROI {printable(roi.name)!r} tells no slice; in ImageJ, tick \'Associate "Show All" ROIs with '
        "slices' in the ROI Manager's options and save the set again"
    )
