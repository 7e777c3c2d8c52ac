"""Numbers for a paper: counts, medians and spread by class, image and group, and groups compared by rank tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.pipelines.objects.job import measure
from volseg.pipelines.objects.sources import ObjectSource

if TYPE_CHECKING:
    from volseg.pipelines.objects.options import FeatureOptions
    from volseg.progress import Progress

USUAL = ("area", "equivalent_diameter_area", "form_factor", "intensity_mean")
ENOUGH_IMAGES = 3
"""Images of every group from which on images are compared, by their medians, and not their objects."""
NO_CLASS = "(no class)"


@dataclass(frozen=True)
class SummaryRow:
    """One feature of the objects of one class in one image, or in all images of a group (`image` is None)."""

    group: str
    image: str | None
    class_: str
    feature: str
    count: int
    median: float
    lower: float
    upper: float
    mean: float
    std: float


@dataclass(frozen=True)
class Comparison:
    """Groups compared: the test, what was counted (images or objects), p and p corrected for all comparisons (Holm)."""

    class_: str
    feature: str
    groups: tuple[str, ...]
    test: str
    units: str
    p: float
    corrected: float


@dataclass(frozen=True)
class Summary:
    """The whole."""

    rows: tuple[SummaryRow, ...]
    comparisons: tuple[Comparison, ...]
    values: dict[tuple[str, str, str], NDArray[np.float64]]
    """By feature, class and group: of every object, for plots."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rows": [_named(vars(one)) for one in self.rows],
            "comparisons": [_named(vars(one)) for one in self.comparisons],
        }

    def to_csv(self) -> str:
        """The rows as a table."""
        file = io.StringIO()
        names = [name.rstrip("_") for name in SummaryRow.__dataclass_fields__]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for one in self.rows:
            writer.writerow({**_named(vars(one)), "image": one.image or "all"})
        return file.getvalue()

    def describe(self) -> str:
        """For people: groups by class, and comparisons."""
        lines = [f"{'group':<14}{'class':<16}{'feature':<30}{'n':>7}{'median':>12}  quartiles"]
        for one in self.rows:
            if one.image is None:
                lines.append(
                    f"{one.group:<14}{one.class_:<16}{one.feature:<30}{one.count:>7}{one.median:>12.4g}  "
                    f"{one.lower:.4g} to {one.upper:.4g}"
                )
        for two in self.comparisons:
            lines.append(
                f"{two.class_}, {two.feature}, {' against '.join(two.groups)}: p = {two.p:.3g}, corrected "
                f"{two.corrected:.3g} ({two.test} of {two.units})"
            )
        return "\n".join(lines)


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {name.rstrip("_"): value for name, value in values.items()}


def summarise(
    sources: Sequence[ObjectSource],
    groups: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    options: FeatureOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Summary:
    """Sum up the objects of several images.

    Parameters
    ----------
    sources
        Label images.
    groups
        The group of each, as ``("control", "control", "treated")``; None: all of one, and classes are compared.
    features
        Names of features; by default size, shape and brightness.
    options
        What is measured, where it is not measured yet.

    Raises
    ------
    InputError
        Not as many groups as images, or no feature of a name.
    """
    of = list(groups) if groups is not None else ["all"] * len(sources)
    if len(of) != len(sources):
        raise InputError(f"{len(of)} groups for {len(sources)} images; name one for each image")
    columns: dict[tuple[str, str, str, str], NDArray[np.float64]] = {}
    for source, group in zip(sources, of, strict=True):
        measured = measure(source.volume, source.name, options, progress=progress)
        names = measured.plan.definition.names
        chosen = _chosen(features, names)
        rows = measured.table.rows()
        classes = {(r.time, r.id): r.class_ for r in source.labels.objects.rows()}
        told = np.array(
            [
                classes.get((int(t), int(i))) or NO_CLASS
                for t, i in zip(rows.times, rows.ids, strict=True)
            ]
        )
        for class_ in sorted(set(told.tolist())):
            for name in chosen:
                values = rows.values[told == class_, names.index(name)].astype(np.float64)
                columns[group, str(source.volume.location), class_, name] = values[
                    np.isfinite(values)
                ]
    return _summary(columns, groups is not None)


def _chosen(features: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    if features is None:
        return [n for n in names if n in USUAL or n.rpartition("-")[0] in USUAL]
    for one in features:
        if one not in names:
            raise InputError(f"there is no feature {one!r}; there are {', '.join(names)}")
    return list(features)


def _summary(
    columns: dict[tuple[str, str, str, str], NDArray[np.float64]], grouped: bool
) -> Summary:
    rows = [_row(g, image, c, f, values) for (g, image, c, f), values in columns.items()]
    pooled: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for (g, _, c, f), values in columns.items():
        pooled.setdefault((f, c, g), []).append(values)
    together = {key: np.concatenate(parts) for key, parts in sorted(pooled.items())}
    rows += [_row(g, None, c, f, found) for (f, c, g), found in together.items()]
    return Summary(tuple(rows), tuple(_comparisons(pooled, grouped)), together)


def _row(
    group: str, image: str | None, class_: str, feature: str, values: NDArray[np.float64]
) -> SummaryRow:
    if not len(values):
        nothing = float("nan")
        return SummaryRow(group, image, class_, feature, 0, *[nothing] * 5)
    lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
    std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return SummaryRow(
        group, image, class_, feature, len(values), median, lower, upper, float(values.mean()), std
    )


def _comparisons(
    pooled: dict[tuple[str, str, str], list[NDArray[np.float64]]], grouped: bool
) -> list[Comparison]:
    """Groups within each class; or, where there are none, classes within all."""
    sets: dict[tuple[str, str], dict[str, list[NDArray[np.float64]]]] = {}
    for (feature, class_, group), parts in sorted(pooled.items()):
        key = (class_, feature) if grouped else ("classes", feature)
        sets.setdefault(key, {})[group if grouped else class_] = parts
    found = []
    for (class_, feature), members in sets.items():
        by_image = grouped and min(map(len, members.values())) >= ENOUGH_IMAGES
        samples = [
            np.array([np.median(p) for p in parts if len(p)]) if by_image else np.concatenate(parts)
            for parts in members.values()
        ]
        if len(samples) < 2 or min(map(len, samples)) < 2:
            continue
        test, p = _rank_test(samples)
        units = "images" if by_image else "objects"
        found.append(Comparison(class_, feature, tuple(members), test, units, p, p))
    corrected = holm([one.p for one in found])
    return [
        Comparison(**{**vars(one), "corrected": p}) for one, p in zip(found, corrected, strict=True)
    ]


def _rank_test(samples: list[NDArray[np.float64]]) -> tuple[str, float]:
    from scipy import stats

    if len(np.unique(np.concatenate(samples))) == 1:
        return ("Mann-Whitney" if len(samples) == 2 else "Kruskal-Wallis"), 1.0
    if len(samples) == 2:
        return "Mann-Whitney", float(stats.mannwhitneyu(*samples).pvalue)
    return "Kruskal-Wallis", float(stats.kruskal(*samples).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for that many comparisons (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    found, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - rank)))
        found[i] = largest
    return found
