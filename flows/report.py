"""The report of a segment run as markdown: numbers, and pictures of a few slices with the labels' outlines."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from volseg.pipelines.segmentation import RunResult

PICTURES = 3
LONGEST_SIDE = 384


def markdown_report(result: RunResult) -> str:
    """The report of a run.

    Parameters
    ----------
    result
        Of `volseg.pipelines.segmentation.run`.
    """
    report = result.report
    made = report.get("objects", {})
    lines = [
        f"# {result.plan.labels.name} of {result.plan.url}",
        "",
        f"Model {result.plan.model_name}, {report['prompted']} prompted objects, "
        f"{made.get('made', 0)} made, run `{result.plan.hash}`, {report['seconds']:.1f} s.",
        "",
        "| stage | blocks | found done | failed | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, c in report["stages"].items():
        lines.append(
            f"| {name} | {c['done']} | {c['resumed']} | {c['quarantined']} | {c['wall_seconds']:.1f} |"
        )
    if made.get("empty"):
        lines += ["", f"Nothing was found for objects {', '.join(map(str, made['empty'][:50]))}."]
    for z, picture in _pictures(result):
        lines += ["", f"![slice {z}](data:image/png;base64,{picture})"]
    return "\n".join(lines)


def _pictures(result: RunResult) -> list[tuple[int, str]]:
    """A few slices of a level small enough to show, as PNG in base64."""
    from volseg.images.image import open_volume

    labels, source = result.labels, result.plan.source
    level = next(
        (i for i, a in enumerate(labels.levels) if max(a.shape[-2:]) <= LONGEST_SIDE),
        len(labels.levels) - 1,
    )
    depth, height, width = labels.levels[level].grid.shape
    if max(height, width) > 4 * LONGEST_SIDE:
        return []
    volume = open_volume(result.plan.url)
    at = min(source.level + level, len(volume.levels) - 1)
    if volume.levels[at].grid.shape != (depth, height, width):
        return []
    found = []
    for k in range(1, PICTURES + 1):
        z = min(depth - 1, k * depth // (PICTURES + 1))
        region = ((z, z + 1), (0, height), (0, width))
        plane = volume.read(region, level=at, time=source.time, channel=source.channels[0])[0]
        ids = labels.read(region, level=level, time=source.time)[0]
        found.append((z, _png(plane, ids)))
    return found


def _png(plane: NDArray[Any], ids: NDArray[Any]) -> str:
    """A slice in grey with the outlines of its labels in yellow."""
    from PIL import Image

    low, high = np.percentile(plane, (1, 99))
    grey = np.clip((plane - float(low)) / max(1e-9, float(high - low)), 0, 1) * 255
    picture = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    edge = np.zeros(ids.shape, dtype=bool)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    picture[edge] = (255, 220, 0)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
