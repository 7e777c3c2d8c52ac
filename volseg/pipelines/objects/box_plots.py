"""Box plots as SVG, one a feature: median, quartiles, whiskers to 1.5 of their distance, and every value beyond."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

HEIGHT, PLOT, BOX, LEFT, TOP = 320, 240, 70, 70, 30


def box_plot(title: str, groups: Mapping[str, NDArray[np.float64]]) -> str:
    """Return an SVG picture of values by group.

    Parameters
    ----------
    title
        Written above.
    groups : dict of ndarray (n,)
        By name, in order; empty ones are left out.
    """
    shown = {name: values for name, values in groups.items() if len(values)}
    low = min((float(v.min()) for v in shown.values()), default=0.0)
    high = max((float(v.max()) for v in shown.values()), default=1.0)
    span = (high - low) or 1.0

    def y(value: float) -> str:
        return f"{TOP + PLOT * (1 - (value - low) / span):.1f}"

    width = LEFT + BOX * max(1, len(shown)) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]
    for tick in np.linspace(low, low + span, 5):
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(float(tick))}" text-anchor="end" dominant-baseline="middle">{tick:.3g}</text>'
            f'<line x1="{LEFT - 4}" x2="{width - 10}" y1="{y(float(tick))}" y2="{y(float(tick))}" stroke="#ddd"/>'
        )
    for at, (name, values) in enumerate(shown.items()):
        parts.append(_box(LEFT + BOX * at + BOX // 2, name, values, y))
    return "\n".join([*parts, "</svg>\n"])


def _box(x: int, name: str, values: NDArray[np.float64], y: object) -> str:
    assert callable(y)
    q1, median, q3 = np.percentile(values, [25, 50, 75]).tolist()
    reach = 1.5 * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    beyond = values[(values < q1 - reach) | (values > q3 + reach)]
    half = BOX // 4
    top, bottom = y(q3), y(q1)
    dots = "".join(
        f'<circle cx="{x}" cy="{y(float(v))}" r="1.5" fill="none" stroke="#555"/>'
        for v in beyond[:500]
    )
    return (
        f'<line x1="{x}" x2="{x}" y1="{y(float(inside.min()))}" y2="{bottom}" stroke="#333"/>'
        f'<line x1="{x}" x2="{x}" y1="{top}" y2="{y(float(inside.max()))}" stroke="#333"/>'
        f'<rect x="{x - half}" y="{top}" width="{2 * half}" height="{max(0.5, float(bottom) - float(top)):.1f}" '
        f'fill="#9cc3e6" stroke="#333"/>'
        f'<line x1="{x - half}" x2="{x + half}" y1="{y(median)}" y2="{y(median)}" stroke="#111" stroke-width="2"/>'
        f'{dots}<text x="{x}" y="{TOP + PLOT + 18}" text-anchor="middle">{escape(name[:12])}</text>'
        f'<text x="{x}" y="{TOP + PLOT + 32}" text-anchor="middle" fill="#777">n = {len(values)}</text>'
    )
