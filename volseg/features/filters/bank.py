"""A bank of classical filters of single slices at several scales.

Gaussian, Laplacian of Gaussian, gradient magnitude, and the eigenvalues of the Hessian and of the structure tensor, as
in ilastik (Berg et al., Nature Methods 2019). Kernels are cut at a fixed reach and slices are mirrored at their edges
only, so that what a voxel gets depends on the voxels within `FilterBank.halo` and on nothing else: not on the box that
was asked for.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import correlate1d

Plane = NDArray[np.float32]

TRUNCATE = 3.0  # standard deviations at which kernels end
KINDS = ("gaussian", "laplacian", "gradient", "hessian_high", "hessian_low")
TENSOR_KINDS = ("structure_high", "structure_low")
DEFAULT_SCALES = (0.7, 1.6, 3.5, 8.0)


class FilterBank(BaseModel):
    """Which filters; a value.

    Parameters
    ----------
    scales
        Standard deviations, in multiples of the finer side (y, x) of a voxel.
    side
        The sides (y, x) of a voxel in the same unit; the finer one is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Annotated[tuple[float, ...], Field(min_length=1)] = DEFAULT_SCALES
    side: tuple[float, float] = (1.0, 1.0)

    @staticmethod
    def of_voxel(voxel_um: tuple[float, float, float]) -> FilterBank:
        """Return the default bank for a voxel size (z, y, x) in micrometres."""
        _, y, x = voxel_um
        finest = min(y, x)
        return FilterBank(side=(round(y / finest, 3), round(x / finest, 3)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order in which `apply` stacks them."""
        return tuple(f"{kind}_{s:g}" for s in self.scales for kind in (*KINDS, *TENSOR_KINDS))

    @cached_property
    def halo(self) -> tuple[int, int]:
        """Voxels (y, x) that must be known around a voxel."""
        y, x = (
            _reach(self.scales[0] / side) + _reach(max(self.scales) / side) + 1
            for side in self.side
        )
        return (y, x)

    def apply(self, plane: Plane) -> NDArray[np.float32]:
        """Filter one slice.

        Parameters
        ----------
        plane
            (y + 2 halo, x + 2 halo) float32.

        Returns
        -------
        ndarray
            (features, y, x) float32, without the halo.
        """
        tensor = self._products(plane)
        found: list[Plane] = []
        for scale in self.scales:
            smooth = self._smoothed(plane, scale)
            dy, dx = self._derivative(smooth, 0), self._derivative(smooth, 1)
            yy, xx = self._curvature(smooth, 0), self._curvature(smooth, 1)
            high, low = _eigenvalues(yy, self._derivative(dy, 1), xx)
            found += [smooth, yy + xx, np.hypot(dy, dx), high, low]
            found += _eigenvalues(*(self._smoothed(part, scale) for part in tensor))
        inside = tuple(slice(h, n - h) for h, n in zip(self.halo, plane.shape, strict=True))
        return np.stack([one[inside] for one in found])

    def _products(self, plane: Plane) -> tuple[Plane, Plane, Plane]:
        """Return the structure tensor (yy, yx, xx) before it is smoothed."""
        smooth = self._smoothed(plane, self.scales[0])
        dy, dx = self._derivative(smooth, 0), self._derivative(smooth, 1)
        return dy * dy, dy * dx, dx * dx

    def _smoothed(self, plane: Plane, scale: float) -> Plane:
        for axis, side in enumerate(self.side):
            kernel = _gaussian(scale / side)
            plane = correlate1d(plane, kernel, axis, output=np.float32, mode="nearest")
        return plane

    def _derivative(self, plane: Plane, axis: int) -> Plane:
        """Return central differences, in units of the finer side."""
        found = np.zeros_like(plane)
        step = np.float32(0.5 / self.side[axis])
        _inner(found, axis, 1)[...] = (_moved(plane, axis, 1) - _moved(plane, axis, -1)) * step
        return found

    def _curvature(self, plane: Plane, axis: int) -> Plane:
        """Return second differences, in units of the finer side."""
        found = np.zeros_like(plane)
        step = np.float32(1 / self.side[axis] ** 2)
        both = _moved(plane, axis, 1) + _moved(plane, axis, -1)
        _inner(found, axis, 1)[...] = (both - 2 * _inner(plane, axis, 1)) * step
        return found


def _reach(sigma: float) -> int:
    """Voxels that a Gaussian reaches to either side."""
    return max(1, math.ceil(TRUNCATE * sigma))


def _gaussian(sigma: float) -> NDArray[np.float64]:
    at = np.arange(-_reach(sigma), _reach(sigma) + 1)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _inner(plane: Plane, axis: int, margin: int) -> Plane:
    return plane[margin:-margin] if axis == 0 else plane[:, margin:-margin]


def _moved(plane: Plane, axis: int, by: int) -> Plane:
    """Return what lies one voxel after (1) or before (-1) the inner voxels along an axis."""
    part = slice(2, None) if by > 0 else slice(None, -2)
    return plane[part] if axis == 0 else plane[:, part]


def _eigenvalues(yy: Plane, yx: Plane, xx: Plane) -> tuple[Plane, Plane]:
    """Return the larger and the smaller eigenvalue of symmetric 2 x 2 matrices."""
    middle, half = (yy + xx) * np.float32(0.5), (yy - xx) * np.float32(0.5)
    root = np.sqrt(half * half + yx * yx)
    return middle + root, middle - root
