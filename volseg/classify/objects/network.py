"""A small convolutional network on patches: what an object looks like, learned end to end.

Patches are centred on objects, with the object's mask as the last channel. Architecture, loss, optimiser, batch size
and augmentation are settings; initial weights, order and augmentation come from the seed, on one thread, so that the
same labels give the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from volseg.classify.objects.classifier import Family, Inputs, class_weights
from volseg.models.threads import one_thread
from volseg.options import Options

if TYPE_CHECKING:
    import torch
    from torch import nn

_WEIGHTS, _SETTINGS = "network.npz", "network.json"
_PREDICTED_AT_ONCE = 512


class NetworkOptions(Options):
    """How a network is made and trained."""

    architecture: Literal["small", "resnet18"] = Field(
        "small", description="small: three convolutions; resnet18: of torchvision, in 2D."
    )
    loss: Literal["cross-entropy", "binary", "squared"] = Field(
        "cross-entropy",
        description="cross-entropy; binary, one a class; squared, of probabilities.",
    )
    optimiser: Literal["adam", "sgd"] = Field("adam", description="adam, or sgd with momentum.")
    rate: float = Field(0.01, gt=0, le=1, description="Step size; falls to 0 along a cosine.")
    epochs: int = Field(200, ge=1, le=10_000, description="Passes over the labels.")
    batch: int = Field(128, ge=1, le=4096, description="Patches per step.")
    width: int = Field(8, ge=2, le=128, description="Channels of the first convolution of small.")
    augment: bool = Field(True, description="Rotate by right angles, and flip.")
    seed: int = Field(0, ge=0, description="Of initial weights, order and augmentation.")


@dataclass(frozen=True)
class Network:
    """A trained network, with how brightness was scaled for it.

    Attributes
    ----------
    options
        As it was made.
    shape
        Channels with the mask, then z, y, x of a patch.
    count
        Number of classes.
    middle, width : ndarray of float32 (channels,)
        Mean and spread of brightness in the patches that it learned from.
    state : dict of ndarray
        Weights by name.
    """

    options: NetworkOptions
    shape: tuple[int, int, int, int]
    count: int
    middle: NDArray[np.float32]
    width: NDArray[np.float32]
    state: dict[str, NDArray[np.generic]]

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the probability of each class (n, classes)."""
        import torch

        with one_thread(), torch.inference_mode():
            model = make_model(self.options, self.shape, self.count)
            model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.state.items()})
            model.eval()
            parts = []
            for start in range(0, len(inputs), _PREDICTED_AT_ONCE):
                part = _scaled(inputs[start : start + _PREDICTED_AT_ONCE], self.middle, self.width)
                scores = model(_tensor(part))
                odds = scores.sigmoid() if self.options.loss == "binary" else scores.softmax(1)
                parts.append((odds / odds.sum(1, keepdim=True)).double().numpy())
        return np.concatenate(parts) if parts else np.empty((0, self.count))

    def files(self) -> dict[str, bytes]:
        """Return weights as a NumPy archive, and settings as JSON."""
        arrays: dict[str, Any] = dict(sorted(self.state.items()))
        file = io.BytesIO()
        np.savez(file, **arrays)
        told = {
            "options": self.options.model_dump(mode="json"),
            "shape": list(self.shape),
            "classes": self.count,
            "middle": self.middle.tolist(),
            "width": self.width.tolist(),
        }
        return {_WEIGHTS: file.getvalue(), _SETTINGS: json.dumps(told, sort_keys=True).encode()}


def make_model(options: NetworkOptions, shape: tuple[int, int, int, int], count: int) -> nn.Module:
    """Return an untrained network from patches (n, channels, z, y, x) to scores (n, classes).

    Patches of one slice are given as (n, channels, y, x), and convolved in 2D.
    """
    from torch import nn

    flat = shape[1] == 1
    if options.architecture == "resnet18":
        return _resnet18(shape, count)
    conv: Any = nn.Conv2d if flat else nn.Conv3d
    norm: Any = nn.BatchNorm2d if flat else nn.BatchNorm3d
    pool: Any = nn.AdaptiveAvgPool2d if flat else nn.AdaptiveAvgPool3d
    top: Any = nn.AdaptiveMaxPool2d if flat else nn.AdaptiveMaxPool3d
    layers: list[nn.Module] = []
    given = shape[0]
    for at, wide in enumerate((options.width, 2 * options.width, 4 * options.width)):
        stride: Any = 1 if at == 0 else 2 if flat else (1 if shape[1] < 8 else 2, 2, 2)
        layers += [conv(given, wide, 3, stride, 1, bias=False), norm(wide), nn.ReLU()]
        given = wide

    class Small(nn.Module):
        """Convolutions, and what they find on average and at most."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*layers)
            self.mean, self.most = pool(1), top(1)
            self.head = nn.Linear(2 * given, count)

        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            import torch

            found = self.body(patches)
            both = torch.cat([self.mean(found).flatten(1), self.most(found).flatten(1)], 1)
            scores: torch.Tensor = self.head(both)
            return scores

    return Small()


def _resnet18(shape: tuple[int, int, int, int], count: int) -> nn.Module:
    from torch import nn
    from torchvision.models import resnet18

    from volseg.errors import InputError

    if shape[1] != 1:
        raise InputError(
            "resnet18 looks at patches of one slice; give --set depth=1, or take small"
        )
    model: nn.Module = resnet18(weights=None, num_classes=count)
    first: Any = model.conv1
    model.conv1 = nn.Conv2d(shape[0], first.out_channels, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


def fit(
    inputs: Inputs, classes: NDArray[np.int64], count: int, settings: Mapping[str, Any]
) -> Network:
    """Train on patches; classes weigh alike."""
    import torch

    options = NetworkOptions.of(**settings)
    channels, *size = inputs.shape[1:]
    middle, width = _scale(inputs)
    data = _tensor(_scaled(inputs, middle, width))
    shape = (int(channels), int(size[0]), int(size[1]), int(size[2]))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = make_model(options, shape, count)
        _train(model, data, classes, count, options)
        state = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    return Network(options, shape, count, middle, width, state)


def _train(
    model: nn.Module,
    data: torch.Tensor,
    classes: NDArray[np.int64],
    count: int,
    options: NetworkOptions,
) -> None:
    import torch
    from torch.nn import functional

    wanted = torch.from_numpy(classes)
    weights = torch.from_numpy(class_weights(classes, count)).float()
    kinds: dict[str, Any] = {
        "adam": lambda p: torch.optim.AdamW(p, options.rate, weight_decay=1e-2),
        "sgd": lambda p: torch.optim.SGD(p, options.rate, momentum=0.9, weight_decay=1e-4),
    }
    optimiser = kinds[options.optimiser](model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
    rng = np.random.default_rng(options.seed)
    model.train()
    for _ in range(options.epochs):
        order = rng.permutation(len(wanted))
        for start in range(0, len(order), options.batch):
            part = order[start : start + options.batch]
            if len(part) < 2 and len(order) > 1:
                continue  # nothing to normalise a batch of one by
            patches = data[part]
            if options.augment:
                patches = _turned(patches, rng)
            scores = model(patches)
            truth = functional.one_hot(wanted[part], count).float()
            if options.loss == "cross-entropy":
                loss = functional.cross_entropy(scores, wanted[part], reduction="none")
            elif options.loss == "binary":
                loss = functional.binary_cross_entropy_with_logits(
                    scores, truth, reduction="none"
                ).sum(1)
            else:
                loss = ((scores.softmax(1) - truth) ** 2).sum(1)
            optimiser.zero_grad()
            (loss * weights[part]).mean().backward()
            optimiser.step()
        schedule.step()


def _turned(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Turn a batch by a right angle in the slice, and flip it along each axis, by chance."""
    patches = patches.rot90(int(rng.integers(4)), (-2, -1))
    axes = [axis for axis in range(2, patches.ndim) if rng.random() < 0.5]
    return patches.flip(axes) if axes else patches


def _scale(inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axes = (0, 2, 3, 4)
    middle, width = inputs.mean(axes, dtype=np.float64), inputs.std(axes, dtype=np.float64)
    middle[-1], width[-1] = 0.0, 1.0  # the mask
    return middle.astype(np.float32), np.where(width > 0, width, 1.0).astype(np.float32)


def _scaled(inputs: Inputs, middle: NDArray[np.float32], width: NDArray[np.float32]) -> Inputs:
    shape = (1, -1, 1, 1, 1)
    return (inputs - middle.reshape(shape)) / width.reshape(shape)


def _tensor(inputs: Inputs) -> torch.Tensor:
    import torch

    flat = inputs[:, :, 0] if inputs.shape[2] == 1 else inputs
    return torch.from_numpy(np.ascontiguousarray(flat, np.float32))


def load(files: Mapping[str, bytes]) -> Network:
    """Read what `Network.files` gave."""
    with np.load(io.BytesIO(files[_WEIGHTS]), allow_pickle=False) as archive:
        state = {name: archive[name] for name in archive.files}
    told = json.loads(files[_SETTINGS])
    c, z, y, x = told["shape"]
    return Network(
        NetworkOptions.of(**told["options"]),
        (c, z, y, x),
        told["classes"],
        np.array(told["middle"], np.float32),
        np.array(told["width"], np.float32),
        state,
    )


FAMILY = Family("network", "patches", fit, load)
