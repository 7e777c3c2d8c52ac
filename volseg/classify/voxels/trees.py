"""Gradient-boosted trees by LightGBM, always the same for the same samples: no bagging, one histogram's order.

Stored as LightGBM's own text, which reads back bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, ModelUnavailableError

if TYPE_CHECKING:
    import lightgbm

ROUNDS = 50
"""Trees, of each class where there are more than two."""
LIVE_TREES = 50
"""Trees in all of a live preview, so that a slice is classified while one looks at it."""
PARAMETERS: dict[str, Any] = {
    # by tests/bench/pixels.py on what trains: few features a split, bins as fine as the samples are
    "num_leaves": 31,
    "learning_rate": 0.1,
    "min_data_in_leaf": 2,
    "min_data_in_bin": 1,
    "min_sum_hessian_in_leaf": 1e-3,
    "lambda_l2": 1.0,
    "max_bin": 255,
    "feature_fraction_bynode": 0.1,
    "seed": 20,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_threads": 1,
}
LIVE: dict[str, Any] = {"num_leaves": 15, "max_bin": 63}


class Trees:
    """Tells classes apart.

    Parameters
    ----------
    booster
        Trained by `train`, or read from its text.
    classes
        Number of classes.
    """

    def __init__(self, booster: lightgbm.Booster, classes: int) -> None:
        self._booster = booster
        self.classes = classes

    @staticmethod
    def train(
        features: NDArray[np.float32],
        targets: NDArray[np.int64],
        weights: NDArray[np.float64],
        names: Sequence[str],
        *,
        live: bool = False,
    ) -> Trees:
        """Train on samples.

        Parameters
        ----------
        features
            (n, features) float32.
        targets
            (n,) 0 … classes - 1, each at least once.
        weights
            (n,) above 0.
        names
            Of the features.
        live
            Fewer and smaller trees, for a preview.
        """
        library = _library()
        classes = int(targets.max()) + 1
        kind = (
            {"objective": "binary"}
            if classes == 2
            else {"objective": "multiclass", "num_class": classes}
        )
        data = library.Dataset(features, targets, weight=weights, feature_name=list(names))
        chosen, rounds = {**PARAMETERS, **kind}, ROUNDS
        if live:
            rounds = LIVE_TREES if classes == 2 else max(1, LIVE_TREES // classes)
            rate = PARAMETERS["learning_rate"] * ROUNDS / rounds
            chosen |= LIVE | {"learning_rate": min(0.5, rate)}
        return Trees(library.train(chosen, data, rounds), classes)

    @staticmethod
    def of_text(text: str, classes: int) -> Trees:
        """Read trees from `text`.

        Raises
        ------
        ModelUnavailableError
            If it is no text of LightGBM's.
        """
        library = _library()
        try:
            return Trees(library.Booster(model_str=text), classes)
        except library.basic.LightGBMError as error:
            raise ModelUnavailableError(f"the classifier's trees can't be read: {error}") from None

    @property
    def text(self) -> str:
        """The trees as LightGBM writes them."""
        return str(self._booster.model_to_string())

    def scores(self, features: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Return logits (n, classes) float32 of features (n, features)."""
        found = self._booster.predict(features, raw_score=True, num_threads=threads)
        raw = np.asarray(found, np.float32)
        return raw if raw.ndim == 2 else np.stack([-raw / 2, raw / 2], axis=1)


def _library() -> Any:
    # threads that wait by spinning slow everything else down, and themselves, forty times
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import lightgbm
    except ImportError:
        raise InputError(
            "classifying voxels needs LightGBM, which is not installed: pip install 'volseg[learn]'"
        ) from None
    return lightgbm
