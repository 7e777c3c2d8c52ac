"""Evaluation: labels against truth, annotators against each other, and the plain baseline beside
them.
"""

from __future__ import annotations

from volseg.evaluation.agreement import Agreement, annotator_agreement
from volseg.evaluation.baseline import otsu_component, otsu_components, otsu_dice, otsu_threshold
from volseg.evaluation.boxes import BoxTruth, evaluate_boxes
from volseg.evaluation.page import write_page
from volseg.evaluation.preprocessing import PreprocessingTable, compare_preprocessing
from volseg.evaluation.report import BoxScore, ObjectScore, Report
from volseg.evaluation.scoring import evaluate, metric_names
from volseg.evaluation.semantic import SemanticReport, evaluate_semantic

__all__ = [
    "Agreement",
    "BoxScore",
    "BoxTruth",
    "ObjectScore",
    "PreprocessingTable",
    "Report",
    "SemanticReport",
    "annotator_agreement",
    "compare_preprocessing",
    "evaluate",
    "evaluate_boxes",
    "evaluate_semantic",
    "metric_names",
    "otsu_component",
    "otsu_components",
    "otsu_dice",
    "otsu_threshold",
    "write_page",
]
