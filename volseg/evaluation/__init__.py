"""Evaluation: labels against truth, annotators against each other, and the plain baseline beside
them."""

from __future__ import annotations

from volseg.evaluation.baseline import otsu_component, otsu_components, otsu_dice, otsu_threshold
from volseg.evaluation.report import ObjectScore, Report
from volseg.evaluation.scoring import evaluate, metric_names

__all__ = [
    "ObjectScore",
    "Report",
    "evaluate",
    "metric_names",
    "otsu_component",
    "otsu_components",
    "otsu_dice",
    "otsu_threshold",
]
