"""The filter bank: exact whatever box is asked for, and right about simple shapes."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.features.filters.bank import FilterBank


@pytest.mark.parametrize("side", [(1.0, 1.0), (2.5, 1.0)])
def test_a_part_is_filtered_as_the_whole(side: tuple[float, float]) -> None:
    bank = FilterBank(scales=(0.7, 2.0), side=side)
    (hy, hx), rng = bank.halo, np.random.default_rng(0)
    plane = rng.random((60 + 2 * hy, 70 + 2 * hx)).astype(np.float32)
    whole = bank.apply(plane)
    assert whole.shape == (len(bank.names), 60, 70)
    for _ in range(20):
        y0, x0 = rng.integers(0, 50), rng.integers(0, 60)
        y1, x1 = rng.integers(y0 + 1, 61), rng.integers(x0 + 1, 71)
        part = bank.apply(plane[y0 : y1 + 2 * hy, x0 : x1 + 2 * hx])
        assert part.tobytes() == np.ascontiguousarray(whole[:, y0:y1, x0:x1]).tobytes()


def test_filters_tell_edges_lines_and_their_directions() -> None:
    bank = FilterBank(scales=(1.5,))
    (hy, hx) = bank.halo
    ramp = np.tile(np.arange(40 + 2 * hx, dtype=np.float32), (40 + 2 * hy, 1))
    found = dict(zip(bank.names, bank.apply(ramp), strict=True))
    np.testing.assert_allclose(found["gradient_1.5"], 1, atol=1e-4)
    np.testing.assert_allclose(found["laplacian_1.5"], 0, atol=1e-4)
    np.testing.assert_allclose(found["structure_high_1.5"], 1, atol=1e-4)
    np.testing.assert_allclose(found["structure_low_1.5"], 0, atol=1e-4)
    line = np.zeros_like(ramp)
    line[:, 20 + hx] = 1
    found = dict(zip(bank.names, bank.apply(line), strict=True))
    assert found["hessian_low_1.5"][20, 20] < -0.05
    assert abs(found["hessian_high_1.5"][20, 20]) < 1e-4


def test_scales_are_multiples_of_the_finer_side() -> None:
    bank = FilterBank.of_voxel((40.0, 8.0, 4.0))
    assert bank.side == (2.0, 1.0)
    assert bank.halo[0] < bank.halo[1]
