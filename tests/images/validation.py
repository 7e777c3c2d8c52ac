"""Second opinions on what volseg writes: ome-zarr-models as the validator, ome-zarr's reader as another reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr


def validate_image(path: Path | str, store: Any = None) -> Any:
    """Validate an image of either version with ome-zarr-models and return its model."""
    import ome_zarr_models.v04.image
    import ome_zarr_models.v05.image

    group = zarr.open_group(store if store is not None else str(path), mode="r")
    module: Any = (
        ome_zarr_models.v04.image if group.metadata.zarr_format == 2 else ome_zarr_models.v05.image
    )
    return module.Image.from_zarr(group)


def validate_labels(path: Path | str) -> Any:
    """Validate a label image of either version with ome-zarr-models and return its model."""
    import ome_zarr_models.v04.image_label
    import ome_zarr_models.v05.image_label

    group = zarr.open_group(str(path), mode="r")
    if group.metadata.zarr_format == 2:
        return ome_zarr_models.v04.image_label.ImageLabel.from_zarr(group)
    return ome_zarr_models.v05.image_label.ImageLabel.from_zarr(group)


def validate_labels_group(path: Path | str) -> Any:
    """Validate a `labels` group of either version with ome-zarr-models and return its model."""
    import ome_zarr_models.v04.labels
    import ome_zarr_models.v05.labels

    group = zarr.open_group(str(path), mode="r")
    if group.metadata.zarr_format == 2:
        return ome_zarr_models.v04.labels.Labels.from_zarr(group)
    return ome_zarr_models.v05.labels.Labels.from_zarr(group)


def other_reader(path: Path | str) -> list[tuple[str, list[tuple[int, ...]], dict[str, Any]]]:
    """Return (name, level shapes, metadata) of every node that ome-zarr's reader finds."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(str(path))
    assert location is not None, "ome-zarr does not see an image here"
    return [
        (node.zarr.basename(), [tuple(level.shape) for level in node.data], dict(node.metadata))
        for node in Reader(location)()
    ]
