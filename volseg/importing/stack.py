"""Folders of slices: one file per slice, in the order and with the gaps that their names tell."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.geometry import whole_region
from volseg.importing.guard import printable, reading, shown
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.pictures import PICTURES, load_picture, open_picture, picture_header
from volseg.importing.slice_names import SliceGrid, natural_key, slice_grid

TIFFS = (".tif", ".tiff")


def open_folder(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open a folder of slices (TIFF, PNG, JPEG, BMP), one file per slice, by the numbers in their names.

    Other and hidden files are left alone. A folder with a single file is that file, and the folder of one OME-TIFF set
    is that set.

    Raises
    ------
    InputError
        If the names are of several kinds, slices are missing, or it can't be told what the numbers count.
    UnsupportedFormatError
        If there is no slice, slices differ in shape or type, or a slice is damaged.
    """
    with reading(path, "folder"):
        names = sorted(
            (
                entry.name
                for entry in os.scandir(path)
                if not entry.name.startswith(".")
                and entry.name.lower().endswith(PICTURES + TIFFS)
                and entry.is_file()
            ),
            key=natural_key,
        )
    if not names:
        below = sorted(one.name for one in os.scandir(path) if one.is_dir())
        told = f"; give one of its folders ({_some(below)})" if below else ""
        raise UnsupportedFormatError(
            f"{shown(path)}: no slices in this folder; expected TIFF, PNG, JPEG, BMP or DICOM files{told}"
        )
    if len(names) == 1 or _is_one_set(path, names):
        return _open_file(path / names[0], axes, options)
    grid = slice_grid(names, path, axes=axes, accept_gaps=options.accept_gaps)
    headers = {name: _header(path / name, options) for name in names}
    first = headers[names[0]]
    for name, found in headers.items():
        if found[:2] != first[:2]:
            raise UnsupportedFormatError(
                f"{shown(path / name)}: a slice of shape {found[0]} and type {found[1]}, but "
                f"{shown(names[0])} has {first[0]} and {first[1]}; all must be alike"
            )
    shape, dtype, scale_um = first
    return OpenedImage(
        path,
        "folder of slices",
        _Slices(path, grid, shape, dtype, options),
        f"{grid.axes}yxs" if len(shape) == 3 else f"{grid.axes}yx",
        scale_um=scale_um,
        channel_names=grid.channels,
        is_rgb=len(shape) == 3 and dtype == "uint8",
    )


def _some(names: list[str]) -> str:
    return ", ".join(map(printable, names[:6])) + (", …" if len(names) > 6 else "")


def _is_tiff(path: Path) -> bool:
    return path.name.lower().endswith(TIFFS)


def _open_file(
    path: Path, axes: str | None, options: SourceOptions, *, as_slice: bool = False
) -> OpenedImage:
    if not _is_tiff(path):
        return open_picture(path, axes, options)
    from volseg.importing.tiff import open_tiff

    return open_tiff(path, axes, options, as_slice=as_slice)


def _is_one_set(folder: Path, names: list[str]) -> bool:
    """Whether the files are one OME-TIFF set.

    Raises
    ------
    UnsupportedFormatError
        If there are such a set and other files.
    """
    first = folder / names[0]
    if not _is_tiff(first):
        return False
    import tifffile

    from volseg.importing.tiff_set import ome_set

    with reading(first, "TIFF"), tifffile.TiffFile(first) as file:
        members = ome_set(file, first).names
    if len(members) < 2:
        return False
    if strangers := [name for name in names if name not in members]:
        raise UnsupportedFormatError(
            f"{shown(folder)}: {shown(names[0])} belongs to an OME-TIFF set of {len(members)} files, "
            f"{shown(strangers[0])} does not; import one file of the set instead of the folder"
        )
    return True


def _header(
    path: Path, options: SourceOptions
) -> tuple[tuple[int, ...], str, tuple[float | None, float | None, float | None]]:
    """Return shape (y, x) or (y, x, 3), type and voxel size of a slice, without decoding it."""
    if not _is_tiff(path):
        return *picture_header(path, options), (None, None, None)
    with _open_file(path, None, _of_slice(options), as_slice=True) as one:
        if one.shape_zyx[0] > 1 or one.n_times > 1 or one.n_channels not in (1, 3):
            raise UnsupportedFormatError(
                f"{shown(path)}: has several pages or channels; a folder of slices has one per file. Import this file "
                "by itself"
            )
        shape: tuple[int, ...] = one.shape_zyx[1:]
        return (*shape, 3) if one.n_channels == 3 else shape, str(one.dtype), one.scale_um


def _of_slice(options: SourceOptions) -> SourceOptions:
    """What is said of a folder, as far as it is meant for each file."""
    return replace(options, series=None)


class _Slices:
    """Files as a lazy array: the axes of the grid, then y, x and maybe s."""

    def __init__(
        self,
        folder: Path,
        grid: SliceGrid,
        shape: tuple[int, ...],
        dtype: str,
        options: SourceOptions,
    ) -> None:
        self._folder, self._options = folder, _of_slice(options)
        self._names = np.array([*grid.names, None], object)[:-1].reshape(grid.shape)
        self._slice_shape = shape
        self.shape = (*grid.shape, *shape)
        self.dtype = np.dtype(dtype)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        lead = self._names.ndim
        chosen = self._names[index[:lead]]
        if not isinstance(chosen, np.ndarray):
            return self._slice(chosen)[index[lead:]]
        slices = [self._slice(name)[index[lead:]] for name in chosen.reshape(-1)]
        return np.stack(slices).reshape(*chosen.shape, *slices[0].shape)

    def _slice(self, name: str | None) -> NDArray[np.generic]:
        if name is None:
            return np.zeros(self._slice_shape, self.dtype)
        path = self._folder / name
        if _is_tiff(path):
            with _open_file(path, None, self._options, as_slice=True) as one:
                whole = one.read(whole_region(one.shape_zyx), channel=None)
            found = whole[0, 0] if len(self._slice_shape) == 2 else np.moveaxis(whole[:, 0], 0, -1)
        else:
            found = load_picture(path, self._options)
        if found.shape != self._slice_shape:
            raise UnsupportedFormatError(
                f"{shown(path)}: decoded to {found.shape}, expected {self._slice_shape}"
            )
        return found.astype(self.dtype, copy=False)
