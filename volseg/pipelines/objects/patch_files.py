"""Patches in a file, for networks that are made elsewhere."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import ExistsError, InputError, explain
from volseg.pipelines.objects.job import measure
from volseg.pipelines.objects.options import PatchOptions
from volseg.pipelines.objects.patches import patch_reader, patch_size
from volseg.pipelines.objects.sources import ObjectSource
from volseg.storage.files import file_to_write

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.progress import Progress


def write_patches(
    volume: Volume,
    name: str,
    out: str,
    options: PatchOptions,
    *,
    every: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the patches of objects into a NumPy archive, and return how many.

    It holds `patches` (n, channels + 1, z, y, x) float32 with the mask last, `id`, `time`, and `class`, which is empty
    where no person gave one.

    Parameters
    ----------
    volume
        The image.
    name
        Its label image.
    out
        File to write, ending in ``.npz``.
    options
        Size of patches.
    every
        All objects; else only those that people gave a class to.
    overwrite
        Replace a file.
    progress
        Of measuring, where that is needed first.

    Raises
    ------
    InputError
        No object has a class, or the file exists or has another ending.
    """
    if not out.endswith(".npz"):
        raise InputError(f"{out}: expected a name that ends in .npz")
    path = file_to_write(out)
    if path.exists() and not overwrite:
        raise ExistsError(f"{path} exists; give --overwrite to replace it")
    source = ObjectSource(volume, name)
    known = source.classes_of_people()
    measured = measure(volume, name, progress=progress)
    rows = measured.table.rows()
    keys = list(zip(rows.times.tolist(), rows.ids.tolist(), strict=True))
    chosen = np.flatnonzero([every or key in known for key in keys])
    if not len(chosen):
        raise InputError(f"people gave no object of {source} a class; give --all for all objects")
    picked = rows.chosen(chosen)
    size = patch_size(source.labels, [picked], options)
    patches = patch_reader(source, measured.plan.definition, size).read(picked)
    classes = np.array([known.get(keys[at], "") for at in chosen.tolist()])
    arrays: dict[str, Any] = {"patches": patches, "id": picked.ids, "time": picked.times}
    arrays["class"] = classes
    partial = path.with_name(f".volseg-partial-{secrets.token_hex(6)}.npz")
    try:
        np.savez_compressed(partial, **arrays)
        os.replace(partial, path)
    except OSError as error:
        raise explain(error) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return len(chosen)
