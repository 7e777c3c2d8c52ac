"""OME-Zarr images as others write them: arrays by zarr-python alone, metadata by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write(
    folder: Path,
    data: np.ndarray,
    axes: str = "zyx",
    *,
    version: str = "0.4",
    scale: Any = None,
    levels: int = 1,
    keys: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write an image with zarr-python alone, the metadata by hand; coarser levels by striding y and x."""
    old = version in ("0.1", "0.2", "0.3")
    v2 = version != "0.5"
    group = zarr.open_group(str(folder), mode="w", zarr_format=2 if v2 else 3)
    keys = keys or {"name": "v2" if v2 else "default", "separator": "/"}
    datasets = []
    for k in range(levels):
        part = data[tuple(slice(None, None, 2**k if a in "yx" else None) for a in axes)]
        shape = {"shape": part.shape, "chunks": tuple(min(n, 8) for n in part.shape)}
        given = shape | {"dtype": part.dtype, "chunk_key_encoding": keys} | options
        group.create_array(str(k), **given)[...] = part
        own = [s * 2**k if a in "yx" else s for a, s in zip(axes, scale or [1] * 9, strict=False)]
        transforms = {"coordinateTransformations": [{"type": "scale", "scale": own}]}
        datasets.append({"path": str(k)} | ({} if old else transforms))
    entry: dict[str, Any] = {"datasets": datasets, "name": "theirs"}
    if version == "0.3":
        entry["axes"] = list(axes)
    elif not old:
        entry["axes"] = [{"name": a, "type": TYPES[a]} for a in axes]
    if v2:
        group.attrs["multiscales"] = [entry | {"version": version}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [entry]}
    return folder


def edit(document: Path, **changes: Any) -> None:
    """Change keys of a JSON document; None takes one out."""
    content = json.loads(document.read_text()) | changes
    document.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def write_labels(image: Path, name: str, data: np.ndarray | None, scale: Any = None) -> None:
    """List a label image and, if there are data, write it."""
    group = zarr.open_group(str(image), mode="a", zarr_format=2).require_group("labels")
    group.attrs["labels"] = [*group.attrs.get("labels", []), name]  # type: ignore[misc]
    if data is not None:
        write(image / "labels" / name, data, scale=scale)
