"""``nano``'s dense model: `load` gives the trained one, `save` writes one down.

It lies in the folder of the version of ``nano`` whose embeddings it was trained on: weights as float16 ``dense.pt``,
``dense_weights.json`` with their SHA-256 and that of their ``nano``, ``dense_training.json`` on how they came about.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volseg.errors import ModelUnavailableError
from volseg.models.dense import DenseSpec, Place, check_inputs
from volseg.models.nano.architecture import CHANNELS, EMBEDDING_SIZE, IMAGE_SIZE
from volseg.models.nano.dense_network import DenseNetwork
from volseg.models.nano.versions import DENSE_RECORD, version_folder
from volseg.models.nano.weights import read_weights, write_weights

__all__ = ["NanoDenseModel", "Parent", "load", "save"]

WEIGHTS, RECORD = "dense.pt", DENSE_RECORD
TRAIN = "train it with 'python -m volseg.training.dense'"
CUDA_BATCH = 16


@dataclass(frozen=True)
class Parent:
    """The ``nano`` whose embeddings a dense model was trained on.

    Attributes
    ----------
    name : str
        As ``volseg.models.registry.find_model`` takes it: ``nano@1``.
    sha256 : str
        Digest of its weights.
    """

    name: str
    sha256: str


class NanoDenseModel:
    """A trained `DenseNetwork` on a device: a `volseg.models.dense.DenseModel`.

    Batches are of a fixed size (one on a CPU), so that a slice's maps do not depend on the others.

    Parameters
    ----------
    network : DenseNetwork
        With its weights; taken over, in evaluation mode and without gradients.
    sha256 : str
        Digest of its weights.
    parent : Parent
        The ``nano`` whose embeddings it takes.
    device : str or torch.device
        Where it shall live.
    """

    def __init__(
        self,
        network: DenseNetwork,
        sha256: str,
        parent: Parent,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        frozen = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: DenseNetwork = frozen.eval().requires_grad_(False)
        self.batch = 1 if self.device.type == "cpu" else CUDA_BATCH
        embedding = (CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
        self._spec = DenseSpec(parent.name, sha256, parent.sha256, IMAGE_SIZE, embedding)

    @property
    def spec(self) -> DenseSpec:
        """What it is."""
        return self._spec

    @torch.inference_mode()
    def maps(
        self, pixels: NDArray[np.uint8], embeddings: NDArray[np.float16], place: Place | None = None
    ) -> NDArray[np.float32]:
        """Compute the maps of consecutive slices of a tile; see `volseg.models.dense.DenseModel.maps`.

        ``place`` is not looked at.
        """
        check_inputs(self.spec, pixels, embeddings)
        size = self.spec.map_size
        out = np.zeros((len(pixels), len(self.spec.maps), size, size), np.float32)
        last: torch.Tensor | None = None
        for first in range(0, len(pixels), self.batch):
            part = slice(first, first + self.batch)
            features = self._features(pixels[part], embeddings[part])
            count = len(features)
            planar = self._padded(features, self.network.planar)
            out[part, :-1] = planar[:count].sigmoid().float().cpu().numpy()
            chain = features if last is None else torch.cat([last, features])
            if len(chain) > 1:
                pairs = self._pairs(chain).sigmoid().float().cpu().numpy()
                start = first if last is None else first - 1
                out[start : start + len(pairs), -1] = pairs[:, 0]
            last = features[-1:]
        return out

    def _features(self, pixels: NDArray[np.uint8], embeddings: NDArray[np.float16]) -> torch.Tensor:
        shown = torch.from_numpy(pixels.copy()).to(self.device)
        known = torch.from_numpy(embeddings.copy()).to(self.device)
        missing = self.batch - len(shown)
        if missing:
            shown = torch.cat([shown, shown[-1:].expand(missing, *shown.shape[1:])])
            known = torch.cat([known, known[-1:].expand(missing, *known.shape[1:])])
        return self.network.features(shown, known)[: len(pixels)]

    def _padded(self, features: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        missing = self.batch - len(features)
        if not missing:
            return layer(features)
        return layer(torch.cat([features, features[-1:].expand(missing, *features.shape[1:])]))

    def _pairs(self, chain: torch.Tensor) -> torch.Tensor:
        """Logits between each of some features and its successor, in batches of the fixed size."""
        found = []
        for first in range(0, len(chain) - 1, self.batch):
            here = chain[first : first + self.batch + 1][:-1]
            there = chain[first + 1 : first + 1 + self.batch]
            missing = self.batch - len(there)
            if missing:
                here = torch.cat([here, here[-1:].expand(missing, *here.shape[1:])])
                there = torch.cat([there, there[-1:].expand(missing, *there.shape[1:])])
            found.append(self.network.between(here, there)[: self.batch - missing])
        return torch.cat(found)


def load(
    device: str | torch.device = "cpu", folder: Path | None = None, *, version: int | None = None
) -> NanoDenseModel:
    """Return a trained dense model.

    Parameters
    ----------
    device : str or torch.device
        Where it shall live.
    folder : Path, optional
        Where ``dense.pt`` and ``dense_weights.json`` lie; that of a version of ``nano`` by default.
    version : int, optional
        Which version's; the newest by default.

    Raises
    ------
    ModelUnavailableError
        The weights are missing, are not those whose SHA-256 is recorded, or don't fit the network.
    UnknownModelError
        There is no such version.
    """
    folder = folder or version_folder(version)
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
        digest, parent = record["sha256"], Parent(**record["parent"])
        weights = read_weights(folder / WEIGHTS, digest, RECORD)
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"nano's dense model: {error.filename} is missing; install the package again, or {TRAIN}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"{folder / RECORD} is no record of a dense model's weights: {error!r}"
        ) from error
    network = DenseNetwork()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelUnavailableError(
            f"{folder / WEIGHTS} does not fit this version's network: {error}"
        ) from error
    return NanoDenseModel(network, digest, parent, device)


def save(network: DenseNetwork, parent: Parent, folder: Path) -> str:
    """Write the weights as float16 ``dense.pt`` with ``dense_weights.json``, as `load` reads them.

    Parameters
    ----------
    network : DenseNetwork
        The network.
    parent : Parent
        The ``nano`` whose embeddings it was trained on.
    folder : Path
        Exists; files of these names are replaced.

    Returns
    -------
    str
        SHA-256 of ``dense.pt``.
    """
    return write_weights(network, folder / WEIGHTS, folder / RECORD, {"parent": asdict(parent)})
