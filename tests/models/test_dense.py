"""The seam of dense models: names of maps, what depth means, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from volseg.errors import InputError
from volseg.models.dense import (
    DEPTH_REACH,
    MAPS,
    NEXT_SLICE,
    PLANAR_OFFSETS,
    DenseSpec,
    check_inputs,
    depth_of_distance,
    distance_of_depth,
)
from volseg.models.registry import find_model

SPEC = DenseSpec("test", "0" * 64, None, 256, (128, 32, 32))


def test_maps_are_found_by_name() -> None:
    assert SPEC.indices(["depth", "foreground"]) == [2, 0]
    assert SPEC.map_size == 128
    assert SPEC.offsets == (*PLANAR_OFFSETS, NEXT_SLICE)
    assert MAPS[-1].name == "affinity +1 +0 +0"
    assert len({m.name for m in MAPS}) == len(MAPS)
    with pytest.raises(InputError, match=r"no map 'class'.*foreground, boundary"):
        SPEC.index("class")


def test_no_affinity_says_what_another_one_says() -> None:
    turned = {tuple(-n for n in offset) for offset in SPEC.offsets}
    assert not turned & set(SPEC.offsets)


def test_depth_and_distance_are_each_others_inverse() -> None:
    distance = np.array([0, 1, 2, 40, DEPTH_REACH])
    depth = depth_of_distance(distance)
    np.testing.assert_allclose(distance_of_depth(depth), distance, rtol=1e-5)
    assert depth[0] == 0
    assert depth[-1] == 1 == depth_of_distance(np.array([5000.0]))[0]
    assert depth.dtype == np.float32


def test_embeddings_of_other_weights_are_refused() -> None:
    shipped = find_model("nano@1")
    SPEC.check_parent(shipped)  # it takes no embeddings
    replace(SPEC, parent_sha256=shipped.sha256).check_parent(shipped)
    with pytest.raises(InputError, match=r"nano@1 has .*volseg\.training\.dense"):
        replace(SPEC, parent_sha256="1" * 64).check_parent(shipped)


@pytest.mark.parametrize(
    ("pixels", "embeddings", "said"),
    [
        (np.zeros((1, 3, 256, 255), np.uint8), np.zeros((1, 128, 32, 32), np.float16), "256, 256"),
        (np.zeros((3, 256, 256), np.uint8), np.zeros((1, 128, 32, 32), np.float16), "pixels must"),
        (np.zeros((0, 3, 256, 256), np.uint8), np.zeros((0, 128, 32, 32), np.float16), "z > 0"),
        (np.zeros((1, 3, 256, 256), np.float32), np.zeros((1, 128, 32, 32), np.float16), "uint8"),
        (np.zeros((2, 3, 256, 256), np.uint8), np.zeros((1, 128, 32, 32), np.float16), "embeddings"),
        (np.zeros((1, 3, 256, 256), np.uint8), np.zeros((1, 128, 32, 32), np.float32), "float16"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(pixels: np.ndarray, embeddings: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_inputs(SPEC, pixels, embeddings)
