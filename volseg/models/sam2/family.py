"""SAM 2.1 (Ravi et al. 2024) as a family: official checkpoints by name, fine-tuned ones by name and path.

An embedding is three arrays: the coarse one that prompts attend to, and two finer ones that sharpen the masks' edges.
Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from volseg.errors import NotThereError, UnknownModelError
from volseg.models.spec import Cost, ModelSpec
from volseg.models.weights import at_path, first_digest, weights_folder

if TYPE_CHECKING:
    from volseg.models.model import Network

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
IMG_SIZE = 1024
"""Side of the input, in pixels, that the official checkpoints were trained at."""


@dataclass(frozen=True)
class Size:
    """One of the four sizes that SAM 2.1 comes in."""

    config: str
    file: str
    cost: Cost


SIZES: Mapping[str, Size] = MappingProxyType({
    "sam2_t": Size("sam2.1_hiera_t", "sam2.1_hiera_tiny", Cost(156 << 20, 900 << 20, 500_000_000, 8.0, 0.1)),
    "sam2_s": Size("sam2.1_hiera_s", "sam2.1_hiera_small", Cost(184 << 20, 1000 << 20, 600_000_000, 10.0, 0.1)),
    "sam2_b+": Size("sam2.1_hiera_b+", "sam2.1_hiera_base_plus", Cost(324 << 20, 1400 << 20, 900_000_000, 15.0, 0.1)),
    "sam2_l": Size("sam2.1_hiera_l", "sam2.1_hiera_large", Cost(898 << 20, 2000 << 20, 1_600_000_000, 35.0, 0.1)),
})  # fmt: skip
"""Of the smallest, weights and time were measured (39 million parameters, 8 s); the others by their size."""

_NAME = re.compile(r"(sam2_[a-z+]+)(?:@([1-9]\d{1,3}))?(?::(.+))?")


class Sam2Family:
    """``sam2_t``; ``sam2_t:PATH``, a checkpoint of that size; ``sam2_t@512:PATH``, for inputs of 512 pixels."""

    name = "sam2"

    def names(self) -> list[str]:
        """List the four sizes, where they can be loaded."""
        return [*SIZES] if find_spec("sam2") else []

    def find(self, text: str) -> ModelSpec | None:
        """Return what a name stands for.

        Raises
        ------
        UnknownModelError
            SAM 2 comes in no such size, or can't see inputs of so many pixels.
        NotThereError
            No checkpoint is at the path.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        size, pixels, file = SIZES.get(match[1]), int(match[2] or IMG_SIZE), match[3]
        if size is None:
            raise UnknownModelError(
                f"{match[1]!r} is no size of SAM 2; there are {', '.join(SIZES)}"
            )
        if pixels % 32:
            raise UnknownModelError(f"{text}: an input of {pixels} pixels is no multiple of 32")
        spec = ModelSpec(
            name=text,
            family=self.name,
            kind=match[1],
            sha256=None,
            img_size=pixels,
            arrays=(
                ("image", (256, pixels // 16, pixels // 16)),
                ("fine", (32, pixels // 4, pixels // 4)),
                ("middle", (64, pixels // 8, pixels // 8)),
            ),
            url=f"{OFFICIAL}{size.file}.pt",
            path=weights_folder() / f"{size.file}.pt",
            licence="Apache-2.0 (SAM 2)",
            object_size=pixels * 160 // 1024,
            cost=size.cost,
        )
        if file is None:
            return replace(spec, sha256=first_digest(spec.path))
        path = Path(file.removeprefix("file://")).expanduser()
        if not path.is_file():
            raise NotThereError(f"no checkpoint at {path}")
        return replace(at_path(replace(spec, url=None), path), name=text)

    def find_planned(self, text: str, sha256: str) -> ModelSpec | None:
        """Return None: one name stands for one file."""
        return None

    def load(self, spec: ModelSpec, path: Path) -> tuple[Network, ModelSpec]:
        """Load a checkpoint.

        Raises
        ------
        ModelUnavailableError
            The package `sam2` is not installed, or the checkpoint is of another size.
        """
        from volseg.models.sam2.network import load_network

        return load_network(SIZES[spec.kind].config, path, spec.img_size), spec

    def card(self, spec: ModelSpec) -> str | None:
        """Return None: what is known stands in the spec."""
        return None


FAMILY = Sam2Family()
