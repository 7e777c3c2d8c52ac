"""Sample volumes to try volseg on, made here, offline, with their truth and prompts beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from volseg.demo.run import LABELS, import_made, made_folder
from volseg.demo.synthetic import SyntheticVolume, make_volume
from volseg.errors import InputError
from volseg.images.targets.permission import Permission
from volseg.progress import Progress, silent


@dataclass(frozen=True)
class Sample:
    """A kind of sample.

    Parameters
    ----------
    what
        For people.
    shape
        Voxels z, y, x.
    clusters, seed
        Of cells; see `volseg.demo.synthetic.make_volume`.
    flat
        The middle slice alone.
    """

    what: str
    shape: tuple[int, int, int]
    clusters: int
    seed: int
    flat: bool = False

    def make(self) -> SyntheticVolume:
        """Make it; the same bytes each time."""
        made = make_volume(self.shape, self.clusters, self.seed)
        if not self.flat:
            return made
        middle = slice(self.shape[0] // 2, self.shape[0] // 2 + 1)
        return replace(made, image=made.image[middle], truth=made.truth[middle])


SAMPLES = {
    "cells": Sample("touching cells in 3D, fluorescence, 24 × 192 × 192", (24, 192, 192), 7, 3),
    "many-cells": Sample("more of them, 40 × 320 × 320", (40, 320, 320), 17, 7),
    "plane": Sample("a 2D picture of cells, 256 × 256", (24, 256, 256), 16, 5, flat=True),
}


def write_sample(
    name: str,
    out: str | Path,
    *,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write ``volume.zarr``, ``raw.tif``, ``truth.tif`` and ``prompts.json`` of a sample into a folder; return it.

    Raises
    ------
    InputError
        There is no sample of this name.
    ExistsError
        The folder holds anything but an earlier sample or demonstration, or one without ``overwrite``.
    """
    if name not in SAMPLES:
        raise InputError(f"no sample {name!r}; there are {', '.join(SAMPLES)}")
    with made_folder(out, Permission(overwrite, overwrite_edits)) as folder:
        import_made(SAMPLES[name].make(), folder, progress)
    return folder


__all__ = ["LABELS", "SAMPLES", "Sample", "write_sample"]
