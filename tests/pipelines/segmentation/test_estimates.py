"""What a plan says that it needs: it follows the voxels, and neither chunks nor levels nor border blow it up."""

from __future__ import annotations

from math import prod

import pytest

from tests.pipelines.segmentation.test_geometry import ORDINARY, new_levels
from volseg.geometry import Triple
from volseg.pipelines.segmentation.estimates import ANY_BLOCK_BYTES, estimate
from volseg.pipelines.segmentation.geometry import LabelLevel, choose_geometry
from volseg.pipelines.segmentation.plan import PlannedOracle
from volseg.prompts import PromptedObject

MB = 1_000_000
ORACLE = PlannedOracle(url="v.zarr", name="truth")
ONE = PromptedObject.model_validate({"id": 1, "prompts": [{"z": 0, "points": [[0, 0, 1]]}]})


def needed(shape: Triple, levels: tuple[LabelLevel, ...], *, shared: bool = False) -> int:
    geometry = choose_geometry(levels, tile=shape[1])
    found = estimate(shape, "uint8", geometry, ORACLE, [ONE], shared=shared)
    assert found.worker_bytes == found.process_bytes + max(found.task_bytes.values())
    return max(found.task_bytes.values())


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 0.2, 0.2)])
@pytest.mark.parametrize("shape", ORDINARY)
def test_memory_follows_the_voxels(shape: Triple, scale: tuple[float, float, float]) -> None:
    levels = new_levels(shape, scale)
    assert needed(shape, levels) <= 64 * MB + 50 * prod(shape)
    assert needed(shape, levels) <= 1000 * MB
    assert needed(shape, levels, shared=True) <= 64 * MB + 100 * prod(shape)


def test_memory_does_not_grow_with_a_voxel_more() -> None:
    for n in (256, 512, 1024):
        whole, one_more = (
            needed((20, m, m), new_levels((20, m, m), (1.0, 1.0, 1.0))) for m in (n, n + 1)
        )
        assert one_more <= 2 * whole


def test_a_large_object_of_others_is_what_it_is() -> None:
    level = LabelLevel(shape=(400, 2000, 2000), factors=(1, 1, 1), chunk=(400, 2000, 2000))
    assert needed(level.shape, (level,)) > 4 * prod(level.shape)


def test_many_tracks_take_no_more_than_their_voxels() -> None:
    shape = (1024, 1025, 7)
    geometry = choose_geometry(new_levels(shape, (1.0, 0.25, 0.25)), tile=shape[1])
    many = [ONE.model_copy(update={"id": i}) for i in range(1, 101)]
    found = estimate(shape, "uint8", geometry, ORACLE, many).task_bytes["settle"]
    assert found <= ANY_BLOCK_BYTES + 4 * prod(shape) + 50 * shape[1] * shape[2]
