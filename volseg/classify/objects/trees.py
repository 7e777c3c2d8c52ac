"""Gradient-boosted trees: for many labels. No bagging, one thread: the same bytes twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.classify.objects.classifier import Family, Inputs, class_weights, need

ROUNDS = 80
_TREES = "trees.txt"


@dataclass(frozen=True)
class Trees:
    """Trees as LightGBM's text, and the number of classes."""

    text: str
    count: int

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the probability of each class (n, classes)."""
        need("lightgbm")
        import lightgbm

        trees = lightgbm.Booster(model_str=self.text)
        found = np.asarray(trees.predict(inputs.astype(np.float64), num_threads=1))
        return found.reshape(len(inputs), self.count)

    def files(self) -> dict[str, bytes]:
        """Return LightGBM's text, without the parameters, which name threads."""
        return {_TREES: self.text.encode()}


def fit(
    inputs: Inputs, classes: NDArray[np.int64], count: int, settings: Mapping[str, Any]
) -> Trees:
    """Learn; classes weigh alike."""
    need("lightgbm")
    import lightgbm

    options = {
        "objective": "multiclass", "num_class": count, "num_leaves": 15, "learning_rate": 0.1,
        "min_data_in_leaf": max(2, min(20, len(classes) // 40)), "lambda_l2": 1.0,
        "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
        "seed": int(settings.get("seed", 0)), "feature_pre_filter": False,
    }  # fmt: skip
    data = lightgbm.Dataset(
        inputs.astype(np.float64), classes, weight=class_weights(classes, count), params=options
    )
    trees = lightgbm.train(options, data, ROUNDS)
    text = trees.model_to_string()
    return Trees(text.partition("\nparameters:")[0] + "\n\nend of parameters\n", count)


def load(files: Mapping[str, bytes]) -> Trees:
    """Read what `Trees.files` gave."""
    text = files[_TREES].decode()
    count = next(
        int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("num_class=")
    )
    return Trees(text, count)


FAMILY = Family("trees", "features", fit, load)
