"""From sums to features: one row per object, lengths in micrometres, brightness in the image's own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volseg.measurement.brightness import BrightnessScale
from volseg.measurement.crofton import factors
from volseg.measurement.definition import SCALES, FeatureDefinition
from volseg.measurement.sums import ObjectSums

Column = NDArray[np.float64]
EMBEDDING_STEPS = 1024
"""Steps in which a number of an embedding is added up, in 1."""


def features_of(
    sums: ObjectSums,
    definition: FeatureDefinition,
    scales: Sequence[BrightnessScale],
    voxel_um: tuple[float, float, float],
) -> dict[str, Column]:
    """Return the features of every object by name, those of neighbours left out.

    Parameters
    ----------
    sums
        Of whole objects, the blocks joined.
    definition
        What is wanted.
    scales
        How the channels of the definition were added up.
    voxel_um
        Voxel size (z, y, x) in micrometres.

    Returns
    -------
    dict of ndarray of float64 (n,)
        NaN where a feature is not defined, as the ring of an object without surroundings.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _shape(sums, definition.flat, np.array(voxel_um))
        for channel, scale in zip(definition.channels, scales, strict=True):
            for name, values in _channel(sums, channel, scale, definition.flat, voxel_um).items():
                found[f"{name}-{channel}"] = values
        if definition.embedding is not None:
            found |= _embedding(sums)
    return found


def centroids_um(sums: ObjectSums, voxel_um: Sequence[float]) -> Column:
    """Return the centroids (n, 3) z, y, x of objects in micrometres from the first voxel's centre."""
    parts = [sums.add[name] / sums.add["voxels"] for name in "zyx"]
    return np.stack(parts, axis=1).reshape(-1, 3) * np.array(voxel_um)


def _shape(sums: ObjectSums, flat: bool, voxel_um: Column) -> dict[str, Column]:
    n = sums.add["voxels"].astype(np.float64)
    size = float(np.prod(voxel_um[1:] if flat else voxel_um))
    area = n * size
    axes = _axes(sums, flat, voxel_um)
    box = np.ones_like(n)
    for name in "yx" if flat else "zyx":
        box *= sums.high[name] - sums.low[name] + 1
    border = sums.add["crossings"] @ factors(tuple(voxel_um.tolist()), flat)
    found = {
        "area": area,
        "equivalent_diameter_area": (
            np.sqrt(4 * area / np.pi) if flat else np.cbrt(6 * area / np.pi)
        ),
        "axis_major_length": axes[:, 0],
        "axis_minor_length": axes[:, -1],
        "eccentricity": np.sqrt(
            np.clip(1 - np.nan_to_num((axes[:, -1] / axes[:, 0]) ** 2, nan=1.0), 0, 1)
        ),
        "extent": n / box,
        "form_factor": _roundness(area, border, flat),
    }
    if flat:
        found["perimeter_crofton"] = border
    else:
        found["surface_area"] = border
        found["axis_middle_length"] = axes[:, 1]
        found["flatness"] = axes[:, 2] / axes[:, 1]
        found["slices"] = (sums.high["z"] - sums.low["z"] + 1).astype(np.float64)
    return found


def _roundness(area: Column, border: Column, flat: bool) -> Column:
    """How near to a disc (4πA / P²) or a ball (surface of the ball of this volume against its own; Wadell 1935)."""
    if flat:
        return 4 * np.pi * area / border**2
    return np.pi ** (1 / 3) * (6 * area) ** (2 / 3) / border


def _axes(sums: ObjectSums, flat: bool, voxel_um: Column) -> Column:
    """Full axes of the ellipse or ellipsoid of the same second moments, longest first (n, 2 or 3), micrometres.

    As scikit-image, a voxel is a point.
    """
    kinds = "yx" if flat else "zyx"
    n = sums.add["voxels"]
    spacing = voxel_um[1:] if flat else voxel_um
    moments = np.empty((len(n), len(kinds), len(kinds)))
    for i, a in enumerate(kinds):
        for j, b in enumerate(kinds):
            name = a + b if a + b in sums.add else b + a
            # exact until the last division, so that nothing is lost to cancelling
            first = [(sums.add[k] - n * sums.low[k]).astype(np.float64) for k in (a, b)]
            crossed = (
                sums.add[name] - sums.low[a] * sums.add[b] - sums.low[b] * sums.add[a]
                + n * sums.low[a] * sums.low[b]
            ).astype(np.float64)  # fmt: skip
            moments[:, i, j] = (
                (crossed / n - first[0] / n * (first[1] / n)) * spacing[i] * spacing[j]
            )
    if not len(n):
        return np.empty((0, len(kinds)))
    values = np.linalg.eigvalsh(moments)[:, ::-1]
    return np.sqrt(np.clip(values, 0, None) * (16 if flat else 20))


def _channel(
    sums: ObjectSums,
    channel: int,
    scale: BrightnessScale,
    flat: bool,
    voxel_um: tuple[float, float, float],
) -> dict[str, Column]:
    def of(kind: Mapping[str, NDArray[np.int64]], name: str) -> Column:
        return kind[f"{name}-{channel}"].astype(np.float64)

    n, unit = sums.add["voxels"].astype(np.float64), scale.unit
    mean = of(sums.add, "sum") / n
    std = np.sqrt(np.clip(of(sums.add, "squares") / n - mean**2, 0, None)) * unit
    ring = of(sums.add, "ring")
    ring_mean = of(sums.add, "ring_sum") / ring
    ring_std = np.sqrt(np.clip(of(sums.add, "ring_squares") / ring - ring_mean**2, 0, None))
    value = mean * unit + scale.offset
    found = {
        "intensity_mean": value,
        "intensity_std": std,
        "intensity_min": of(sums.low, "value") * unit + scale.offset,
        "intensity_max": of(sums.high, "value") * unit + scale.offset,
        **_histogram(sums.add[f"histogram-{channel}"], scale),
        "intensity_ring": ring_mean * unit + scale.offset,
        "intensity_ring_std": ring_std * unit,
        "intensity_contrast": (mean - ring_mean) * unit,
        "intensity_edge": (of(sums.add, "edge_sum") / of(sums.add, "edge") - mean) * unit,
        "intensity_displacement": _displacement(sums, channel, np.array(voxel_um)),
    }
    inner = n - of(sums.add, "edge")
    for k in range(SCALES):
        known = np.where(inner > 0, unit, np.nan)
        found[f"texture_inner_energy_{2**k}"] = np.sqrt(of(sums.add, f"inner_{k}") / inner) * unit
        found[f"texture_inner_max_{2**k}"] = of(sums.high, f"inner_{k}") * known
        found[f"texture_inner_min_{2**k}"] = of(sums.low, f"inner_{k}") * known
        found[f"texture_energy_{2**k}"] = np.sqrt(of(sums.add, f"detail_{k}") / n) * unit
        found[f"texture_max_{2**k}"] = of(sums.high, f"detail_{k}") * unit
        found[f"texture_min_{2**k}"] = of(sums.low, f"detail_{k}") * unit
    yy, xx, yx = (of(sums.add, name) / n for name in ("gyy", "gxx", "gyx"))
    found |= {
        "gradient_y": np.sqrt(yy) * unit / 2,
        "gradient_x": np.sqrt(xx) * unit / 2,
        "gradient_yx": np.nan_to_num(2 * yx / (yy + xx)),
        "gradient_coherence": np.nan_to_num(np.sqrt((yy - xx) ** 2 + 4 * yx**2) / (yy + xx)),
    }
    if not flat:
        found["texture_z"] = np.sqrt(of(sums.add, "gzz") / of(sums.add, "gz")) * unit
    return found


def _histogram(counts: NDArray[np.int64], scale: BrightnessScale) -> dict[str, Column]:
    """Percentiles, to a bin, and entropy in bits of the values in an object."""
    centres = scale.bin_centres()
    upto, total = np.cumsum(counts, axis=1), counts.sum(axis=1)
    found = {}
    for percent in (5, 25, 50, 75, 95):
        at = (upto * 100 >= percent * total[:, None]).argmax(axis=1)
        found[f"intensity_p{percent:02d}"] = centres[at]
    share = counts / np.maximum(total, 1)[:, None]
    logs = np.log2(np.where(share > 0, share, 1.0))
    return found | {"intensity_entropy": -(share * logs).sum(axis=1)}


def _displacement(sums: ObjectSums, channel: int, voxel_um: Column) -> Column:
    """How far the centre of brightness lies from the centroid, micrometres; 0 where nothing is bright."""
    weight, n = sums.add[f"bins-{channel}"], sums.add["voxels"]
    squares = np.zeros(len(n))
    for axis, size in zip("zyx", voxel_um, strict=True):
        moved = sums.add[f"bins_{axis}-{channel}"] - weight * sums.low[axis]
        plain = sums.add[axis] - n * sums.low[axis]
        squares += (np.nan_to_num(moved / weight - plain / n) * size) ** 2
    return np.sqrt(squares)


def _embedding(sums: ObjectSums) -> dict[str, Column]:
    n = sums.add["voxels"].astype(np.float64)[:, None]
    mean = sums.add["embedding"] / n
    spread = np.sqrt(np.clip(sums.add["embedding_squares"] / n - mean**2, 0, None))
    found = {}
    for what, values in (("mean", mean), ("std", spread)):
        for i in range(values.shape[1]):
            found[f"embedding_{what}-{i}"] = values[:, i] / EMBEDDING_STEPS
    return found
