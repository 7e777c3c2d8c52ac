"""The sample volume of File → Open Sample: made on the spot, offline."""

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def touching_cells() -> list[LayerData]:
    """Layer data of the demonstration's synthetic volume: image and true labels, (z, y, x), in micrometres."""
    from volseg.demo.synthetic import make_volume

    made = make_volume()
    placed = {"scale": made.voxel_size_um, "units": ("micrometer",) * 3}
    return [
        (made.image, {"name": "touching cells", **placed}, "image"),
        (made.truth, {"name": "truth", "visible": False, **placed}, "labels"),
    ]
