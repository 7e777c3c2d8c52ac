"""The checks of prompts against a volume: everything must lie inside it, and messages name the key
and its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from volseg.errors import PromptError
from volseg.prompts.models import Prompt, PromptSet


def check_inside(
    prompts: PromptSet, volume_shape_zyx: Sequence[int], n_times: int, n_channels: int
) -> None:
    """Check prompts against a volume's shape; see `PromptSet.check_inside`."""
    for i, layer in enumerate(prompts.layers):
        wanted = layer.channel if isinstance(layer.channel, tuple) else (layer.channel,)
        for channel in wanted:
            if channel is not None and channel >= n_channels:
                raise PromptError(
                    f"layers[{i}].channel: {channel} is out of range; the image has "
                    f"{n_channels} channel{'s' * (n_channels != 1)}, counted from 0"
                )
    depth, height, width = (int(n) for n in volume_shape_zyx)
    for i, one in enumerate(prompts.objects):
        for j, prompt in enumerate(one.prompts):
            _check_prompt(prompt, f"objects[{i}].prompts[{j}]", depth, height, width, n_times)


def _check_prompt(
    prompt: Prompt, place: str, depth: int, height: int, width: int, n_times: int
) -> None:
    """Check one prompt against the volume; voxel i reaches from i - 0.5 to i + 0.5."""
    for key, value, end, what in (
        ("z", prompt.z, depth, "slices"),
        ("t", prompt.t, n_times, "time points"),
    ):
        if value >= end:
            raise PromptError(
                f"{place}.{key}: {value} is beyond the stack; the image has {end} {what} "
                f"(0 to {end - 1})"
            )
    spots = [(f"points[{i}]", y, x) for i, (y, x, _) in enumerate(prompt.points)]
    for i, scribble in enumerate(prompt.scribbles):
        spots += [(f"scribbles[{i}].path[{k}]", y, x) for k, (y, x) in enumerate(scribble.path)]
    for key, y, x in spots:
        if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
            raise PromptError(
                f"{place}.{key}: (y {y:g}, x {x:g}) lies outside the volume; slices are "
                f"{height} x {width} voxels (y, x)"
            )
    if prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        if y0 < 0 or x0 < 0 or y1 > height or x1 > width:
            raise PromptError(
                f"{place}.box: {[y0, x0, y1, x1]} reaches outside the volume; slices are "
                f"{height} x {width} voxels (y, x), and y1, x1 are exclusive"
            )
    if prompt.mask is not None and prompt.mask.size != (height, width):
        raise PromptError(
            f"{place}.mask.size: {list(prompt.mask.size)} is not the size of a slice, "
            f"[{height}, {width}]"
        )
