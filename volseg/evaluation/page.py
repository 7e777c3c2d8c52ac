"""A report page for people: one offline HTML file with scores, plots per object, and the worst
cases pictured.
"""

from __future__ import annotations

import base64
import html
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.evaluation.report import ObjectScore, Report
from volseg.evaluation.sources import LabelSource, open_source
from volseg.geometry import Region, region_shape, slices
from volseg.images.targets.files import write_file
from volseg.images.targets.permission import Permission
from volseg.storage.files import file_to_write

_STYLE = """
:root{--ink:#1d2330;--soft:#667;--line:#d8dce4;--good:#1b7f5c;--bad:#b3343f;--back:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ee;--soft:#99a;--line:#343a48;--back:#14171e}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;
border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
.big{font-size:2.4rem;font-weight:600}.soft{color:var(--soft)}
figure{display:inline-block;margin:0 1rem 1.2rem 0;vertical-align:top;max-width:17rem}
figure img{width:16rem;image-rendering:pixelated;border:1px solid var(--line)}
svg text{fill:var(--soft);font-size:11px}svg line{stroke:var(--line)}
"""
_TRUTH, _FOUND = (44, 196, 130), (230, 60, 160)
_MARGIN = 12
_GENERATOR = "<meta name=generator content=volseg>"
_HEAD_BYTES = 200


def write_page(
    report: Report,
    path: str | os.PathLike[str],
    *,
    labels: Any = None,
    truth: Any = None,
    image: NDArray[np.generic] | Any = None,
    worst: int = 6,
    level: int = 0,
    time: int = 0,
    channel: int = 0,
) -> Path:
    """Write the report page.

    Parameters
    ----------
    report : Report
    path : path
        Of the HTML file; written whole or not at all.
    labels, truth : optional
        As given to `evaluate`; with them the worst objects are pictured.
    image : array (z, y, x) or Volume, optional
        What lies under the outlines; black without it.
    worst : int
        How many objects are pictured.
    level, time, channel : int
        Of label image and volume.

    Raises
    ------
    InputError, StorageError
        If the file can't be written there.
    """
    file_to_write(path)
    parts = [_head(report), _scores(report)]
    if report.objects:
        parts.append(_bars(report.objects))
        parts.append(_scatter(report.objects))
    if labels is not None and truth is not None and report.objects:
        ours = open_source(labels, level=level, time=time)
        theirs = open_source(truth, level=level, time=time)
        rows = sorted(report.objects, key=lambda row: (row.dice, row.id))[:worst]
        figures = [
            _figure(row, ours, theirs, _Backdrop(image, level, time, channel)) for row in rows
        ]
        parts.append("<h2>Worst objects</h2><p class=soft>Green: truth. Pink: labels.</p>")
        parts += figures
    parts.append(_table(report))
    body = "\n".join(parts)
    title = f"{html.escape(report.labels)} against {html.escape(report.truth)}"
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8>{_GENERATOR}<title>{title}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>\n{body}</html>\n"
    )
    written = write_file(
        path,
        text.encode(),
        kind="report page",
        is_ours=lambda data: _GENERATOR.encode() in data[:_HEAD_BYTES],
        permission=Permission(overwrite=True),  # an older page of ours holds nobody's work
    )
    return written.local_path or Path(path)


def _head(report: Report) -> str:
    number = report.mean_dice if report.truth_kind == "masks" else report.overall["mean_box_iou"]
    name = "mean Dice" if report.truth_kind == "masks" else "mean box IoU"
    shown = "–" if number is None else f"{number:.3f}"
    return (
        f"<h1>{html.escape(report.labels)}</h1><p class=soft>against "
        f"{html.escape(report.truth)}, matched by {report.match}</p>"
        f"<p><span class=big>{shown}</span> {name}</p>"
    )


def _scores(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{_number(value)}" for name, value in report.overall.items()
    )
    classes = "".join(
        f"<tr><td>{html.escape(kind)}<td>{_number(scores.get('truth_objects'))}"
        f"<td>{_number(scores.get('mean_dice'))}<td>{_number(scores.get('recall'))}"
        for kind, scores in report.classes.items()
    )
    if classes:
        head = "<tr><th>class<th>objects<th>mean Dice<th>recall"
        classes = f"<h2>Per class</h2><table>{head}{classes}</table>"
    return f"<h2>All objects</h2><table>{rows}</table>{classes}"


def _bars(rows: tuple[ObjectScore, ...]) -> str:
    """Dice per object, worst first; beyond 200 objects every n-th."""
    ordered = sorted(rows, key=lambda row: (row.dice, row.id))
    step = -(-len(ordered) // 200)
    shown = ordered[::step]
    width = 820 / len(shown)
    bars = "".join(
        f"<rect x={30 + at * width:.1f} y={110 - row.dice * 100:.1f} width={max(1, width - 1):.1f} "
        f"height={row.dice * 100 + 0.5:.1f} fill='{_colour(row.dice)}'>"
        f"<title>object {row.id}: Dice {row.dice:.3f}</title></rect>"
        for at, row in enumerate(shown)
    )
    note = f" (every {step}th of {len(ordered)})" if step > 1 else ""
    return (
        f"<h2>Dice per object{note}</h2><svg viewBox='0 0 860 125' role=img>"
        "<line x1=30 x2=850 y1=110 y2=110></line><line x1=30 x2=850 y1=10 y2=10></line>"
        f"<text x=8 y=113>0</text><text x=8 y=14>1</text>{bars}</svg>"
    )


def _scatter(rows: tuple[ObjectScore, ...]) -> str:
    sizes = np.log10([max(1, row.truth_voxels) for row in rows])
    low, high = float(sizes.min()), float(sizes.max())
    span = max(high - low, 1e-6)
    dots = "".join(
        f"<circle cx={30 + 810 * (size - low) / span:.1f} cy={160 - 150 * row.dice:.1f} r=3.5 "
        f"fill='{_colour(row.dice)}' fill-opacity=.7><title>object {row.id}: "
        f"{row.truth_voxels:,} voxels, Dice {row.dice:.3f}</title></circle>"
        for size, row in zip(sizes.tolist(), rows, strict=True)
    )
    return (
        "<h2>Dice by size</h2><svg viewBox='0 0 860 180' role=img>"
        "<line x1=30 x2=850 y1=160 y2=160></line><text x=8 y=163>0</text><text x=8 y=14>1</text>"
        f"<text x=30 y=176>{10**low:,.0f} voxels</text>"
        f"<text x=850 y=176 text-anchor=end>{10**high:,.0f} voxels</text>{dots}</svg>"
    )


def _table(report: Report) -> str:
    if report.boxes:
        rows = "".join(
            f"<tr><td>{b.z}<td>{', '.join(f'{v:g}' for v in b.box)}<td>{_number(b.predicted)}"
            f"<td>{b.iou:.3f}"
            for b in report.boxes
        )
        return f"<h2>Boxes</h2><table><tr><th>z<th>y0, x0, y1, x1<th>object<th>IoU{rows}</table>"
    rows = "".join(
        f"<tr><td>{r.id}<td>{_number(r.predicted)}<td>{html.escape(r.class_ or '')}"
        f"<td>{r.truth_voxels:,}<td>{r.dice:.3f}<td>{_number(r.hausdorff95_um)}"
        f"<td>{_number(r.assd_um)}"
        for r in report.objects[:2000]
    )
    head = "<tr><th>truth<th>labels<th>class<th>voxels<th>Dice<th>HD95 µm<th>ASSD µm"
    return f"<h2>Objects</h2><table>{head}{rows}</table>"


class _Backdrop:
    """The image under the outlines, scaled to bytes by the part that is shown."""

    def __init__(self, image: Any, level: int, time: int, channel: int) -> None:
        self._image, self._where = image, {"level": level, "time": time, "channel": channel}

    def read(self, region: Region) -> NDArray[np.uint8]:
        shape = region_shape(region)[1:]
        if self._image is None:
            return np.zeros(shape, np.uint8)
        if hasattr(self._image, "levels"):
            values = self._image.read(region, **self._where)[0]
        else:
            values = np.asarray(self._image)[slices(region)][0]
        low, high = np.percentile(values, (1, 99.5))
        scaled = (values.astype(np.float32) - low) / max(float(high - low), 1e-6) * 255
        return np.clip(scaled, 0, 255).astype(np.uint8)


def _figure(row: ObjectScore, ours: LabelSource, theirs: LabelSource, backdrop: _Backdrop) -> str:
    """The slice on which truth and labels differ most, with both outlines."""
    zs, ys, xs = (
        (max(0, low - pad), min(size, high + pad))
        for (low, high), size, pad in zip(row.bbox, ours.shape, (0, _MARGIN, _MARGIN), strict=True)
    )
    worst, at = -1, zs[0]
    for z in range(*zs):
        region = ((z, z + 1), ys, xs)
        differ = _differing(row, ours, theirs, region)
        if differ > worst:
            worst, at = differ, z
    region = ((at, at + 1), ys, xs)
    grey = backdrop.read(region)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    for source, one, colour in ((theirs, row.id, _TRUTH), (ours, row.predicted, _FOUND)):
        if one is not None:
            pixels[_edge(source.read(region)[0] == one)] = colour
    caption = f"object {row.id}, slice {at}: Dice {row.dice:.3f}"
    return (
        f"<figure><img src='data:image/png;base64,{_png(pixels)}' alt='{caption}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _differing(row: ObjectScore, ours: LabelSource, theirs: LabelSource, region: Region) -> int:
    truth = theirs.read(region) == row.id
    if row.predicted is None:
        return int(truth.sum())
    return int((truth != (ours.read(region) == row.predicted)).sum())


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    step = max(1, max(pixels.shape[:2]) // 512)
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode("ascii")


def _colour(dice: float) -> str:
    return "var(--good)" if dice >= 0.8 else "var(--bad)" if dice < 0.5 else "#c79a2b"


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
