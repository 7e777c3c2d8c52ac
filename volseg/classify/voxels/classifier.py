"""A trained classifier of voxels: its definition of features, its classes and its trees, as a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.classify.voxels.definition import FeatureDefinition
from volseg.classify.voxels.samples import Samples
from volseg.classify.voxels.trees import Trees
from volseg.errors import InputError, ModelUnavailableError
from volseg.models.folder import checked_files, digest_of, read_model, write_model

KIND = "pixels"
TREES = "trees.txt"
_ROWS = 1 << 16


@dataclass(frozen=True)
class VoxelClassifier:
    """Tells the class of voxels from their features.

    Parameters
    ----------
    definition
        The features.
    classes
        Class numbers, ascending, and their names where they have any.
    trees
        What decides.
    temperature
        Logits are divided by it, so that probabilities are as often right as they say.
    about
        What it was trained on (JSON values).
    """

    definition: FeatureDefinition
    classes: Mapping[int, str | None]
    trees: Trees
    temperature: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def train(
        samples: Samples,
        definition: FeatureDefinition,
        names: Mapping[int, str],
        about: Mapping[str, Any] | None = None,
        *,
        live: bool = False,
    ) -> VoxelClassifier:
        """Train on samples, for a preview where `live`; the same samples give the same bytes.

        Raises
        ------
        InputError
            If there are fewer than two classes.
        """
        numbers, targets = np.unique(samples.classes, return_inverse=True)
        if len(numbers) < 2:
            raise InputError(
                f"the scribbles are all of class {', '.join(map(str, numbers)) or 'none'}; draw strokes of at least "
                "two classes, background being one"
            )
        trees = Trees.train(samples.features, targets, samples.weights, definition.names, live=live)
        classes = {int(number): names.get(int(number)) for number in numbers}
        return VoxelClassifier(definition, classes, trees, about=about or {})

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Class numbers, ascending."""
        return np.array(sorted(self.classes), np.int64)

    def scores(self, features: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Return calibrated logits (n, classes) of features (n, features)."""
        return self.trees.scores(features, threads) / np.float32(self.temperature)

    def probabilities(self, planes: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Return the probability of each class for each voxel.

        Parameters
        ----------
        planes
            (features, y, x) float32.
        threads
            How many compute; the result does not depend on it.

        Returns
        -------
        ndarray
            (classes, y, x) float32 that add up to 1.
        """
        rows = planes.reshape(len(planes), -1)
        found = np.empty((len(self.numbers), rows.shape[1]), np.float32)
        for first in range(0, rows.shape[1], _ROWS):
            part = np.ascontiguousarray(rows[:, first : first + _ROWS].T)
            logits = np.ascontiguousarray(self.scores(part, threads).T)
            found[:, first : first + _ROWS] = softmax(logits)
        return found.reshape(-1, *planes.shape[1:])

    # --- kept and read ---------------------------------------------------------------------------------------------

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the manifest's content and the files."""
        content = {
            "features": self.definition.model_dump(mode="json"),
            "features_sha256": self.definition.hash,
            "feature_names": list(self.definition.names),
            "classes": [{"number": n, "name": self.classes[n]} for n in sorted(self.classes)],
            "temperature": self.temperature,
            "trained_on": dict(self.about),
        }
        return content, {TREES: self.trees.text.encode()}

    def save(self, place: str, *, overwrite: bool = False) -> str:
        """Write it as a folder; see `volseg.models.folder.write_model`."""
        content, files = self.to_files()
        return write_model(place, KIND, content, files, overwrite=overwrite)

    @staticmethod
    def load(place: str) -> tuple[VoxelClassifier, dict[str, Any], dict[str, bytes]]:
        """Read a classifier; also its manifest and files, for those who hand it on.

        Raises
        ------
        ModelUnavailableError
            If there is none, or it is damaged or another version's.
        """
        manifest, files = read_model(place, KIND)
        return VoxelClassifier.of_files(manifest, files), manifest, files

    @staticmethod
    def of_files(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> VoxelClassifier:
        """Make a classifier of a manifest and its files, after comparing digests and features."""
        checked = checked_files(manifest, KIND, files)
        try:
            definition = FeatureDefinition.model_validate(manifest["features"])
            classes = {int(one["number"]): one["name"] for one in manifest["classes"]}
            temperature = float(manifest["temperature"])
            names, digest = tuple(manifest["feature_names"]), manifest["features_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelUnavailableError(
                f"the classifier's manifest is not one of this version of volseg ({type(error).__name__}); train it "
                "anew"
            ) from None
        if definition.hash != digest or definition.names != names:
            raise ModelUnavailableError(
                "the classifier was trained on features that this version of volseg computes otherwise; train it anew"
            )
        trees = Trees.of_text(checked[TREES].decode(), len(classes))
        return VoxelClassifier(
            definition, classes, trees, temperature, dict(manifest.get("trained_on", {}))
        )

    @cached_property
    def sha256(self) -> str:
        """Digest of the classifier by its definition and trees."""
        content, _ = self.to_files()
        return digest_of(content | {"trees": self.trees.text})


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities (classes, …) of logits; summed class by class, so that no cut changes a bit."""
    raised = np.exp(logits - logits.max(axis=0))
    total = np.zeros_like(raised[0])
    for one in raised:
        total += one
    return np.asarray(raised / total, np.float32)
