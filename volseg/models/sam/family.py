"""Segment Anything as a family: the official checkpoints by name, others by path or URL. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from volseg.errors import NotThereError
from volseg.models.spec import Cost, ModelSpec
from volseg.models.weights import at_path, at_url, weights_folder

if TYPE_CHECKING:
    from volseg.models.model import Network

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINT_ENDINGS = (".pth", ".pt")

COSTS: Mapping[str, Cost] = MappingProxyType({
    "vit_b": Cost(375 << 20, 1400 << 20, 1_000_000_000, 9.0, 0.12),
    "vit_l": Cost(1250 << 20, 1800 << 20, 1_600_000_000, 22.0, 0.12),
    "vit_h": Cost(2560 << 20, 2200 << 20, 2_200_000_000, 40.0, 0.12),
})  # fmt: skip

_OFFICIAL: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "vit_b": (
            "sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        "vit_l": (
            "sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        "vit_h": (
            "sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
    }
)

_ANY = ModelSpec(
    name="",
    family="sam",
    kind="vit",
    sha256=None,
    img_size=1024,
    arrays=(("image", (256, 64, 64)),),
    url=None,
    path=Path(),
    licence="Apache-2.0 (Segment Anything)",
    object_size=160,
    cost=COSTS["vit_h"],
)


class SamFamily:
    """The official checkpoints and those of their format; a `Family`."""

    name = "sam"

    def names(self) -> list[str]:
        """List ``vit_b``, ``vit_l`` and ``vit_h``."""
        return [*_OFFICIAL]

    def find(self, text: str) -> ModelSpec | None:
        """Return what a name, the path of a checkpoint or its http, https or s3 URL stands for."""
        if text in _OFFICIAL:
            file_name, sha256 = _OFFICIAL[text]
            return replace(
                _ANY, name=text, kind=text, sha256=sha256, url=OFFICIAL + file_name,
                path=weights_folder() / file_name, cost=COSTS[text],
            )  # fmt: skip
        if re.match(r"(https?|s3)://", text):
            return at_url(_ANY, text)
        path = Path(text.removeprefix("file://")).expanduser()
        if path.is_file():
            return replace(at_path(_ANY, path), name=text)
        if path.suffix in CHECKPOINT_ENDINGS or "/" in text:
            raise NotThereError(f"no checkpoint at {path}")
        return None

    def find_planned(self, text: str, sha256: str) -> ModelSpec | None:
        """Return None: one name stands for one file."""
        return None

    def load(self, spec: ModelSpec, path: Path) -> tuple[Network, ModelSpec]:
        """Load a checkpoint, and tell which of the three it is."""
        from volseg.models.sam.checkpoint import load_checkpoint
        from volseg.models.sam.network import SamNetwork

        sam, kind = load_checkpoint(path, spec.kind)
        return SamNetwork(sam, offers_single=True), replace(spec, kind=kind, cost=COSTS[kind])

    def card(self, spec: ModelSpec) -> str | None:
        """Return None: what is known stands in the spec."""
        return None


FAMILY = SamFamily()
