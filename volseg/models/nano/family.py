"""`nano`, whose versions ship in the package, as a family. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from volseg.errors import ModelUnavailableError
from volseg.models.nano import versions
from volseg.models.spec import Cost, ModelSpec

if TYPE_CHECKING:
    from volseg.models.dense import DenseModel, DenseSpec
    from volseg.models.model import Network

COST = Cost(60 << 20, 120 << 20, 100_000_000, 0.12, 0.015)


class NanoFamily:
    """The versions of `nano`; a `Family`."""

    name = "nano"

    def names(self) -> list[str]:
        """List ``nano``, its newest version, and all of them by number."""
        shipped = [f"nano@{version}" for version in versions.shipped_versions()]
        return ["nano", *shipped] if shipped else []

    def find(self, text: str) -> ModelSpec | None:
        """Return what ``nano`` or ``nano@1`` stands for."""
        if text != "nano" and not text.startswith("nano@"):
            return None
        version = versions.parse_name(text)
        record = versions.read_record(versions.version_folder(version))
        return ModelSpec(
            name=text,
            family=self.name,
            kind="nano",
            sha256=record.sha256,
            img_size=record.img_size,
            arrays=(("image", record.embedding),),
            url=None,
            path=record.path,
            licence="BSD-3-Clause",
            object_size=record.object_size,
            cost=COST,
        )

    def find_planned(self, text: str, sha256: str) -> ModelSpec | None:
        """Return the version of these weights for ``nano``, though a newer one may ship by now."""
        version = versions.version_of(sha256) if text == "nano" else None
        found = None if version is None else self.find(f"nano@{version}")
        return None if found is None else replace(found, name=text)

    def load(self, spec: ModelSpec, path: Path) -> tuple[Network, ModelSpec]:
        """Load a version."""
        from volseg.models.nano.checkpoint import load
        from volseg.models.sam.network import SamNetwork

        return SamNetwork(load(folder=path.parent), offers_single=False), spec

    def dense_spec(self, spec: ModelSpec) -> DenseSpec | None:
        """Return what is known of a version's dense model, None where none ships with it."""
        import json

        from volseg.models.dense import DenseSpec

        try:
            record = json.loads((spec.path.parent / versions.DENSE_RECORD).read_text())
            digest, parent = str(record["sha256"]), str(record["parent"]["sha256"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ModelUnavailableError(
                f"{spec.path.parent / versions.DENSE_RECORD} is no record of a dense model's weights: {error!r}"
            ) from error
        return DenseSpec(spec.name, digest, parent, spec.img_size, spec.arrays[0][1])

    def load_dense(self, spec: ModelSpec, device: str) -> DenseModel:
        """Load a version's dense model."""
        from volseg.models.nano.dense import load

        return load(device, spec.path.parent)

    def card(self, spec: ModelSpec) -> str | None:
        """Return the model card of a version."""
        card = spec.path.parent / versions.CARD
        return card.read_text(encoding="utf-8") if card.is_file() else None


FAMILY = NanoFamily()
