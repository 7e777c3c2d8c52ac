"""NumPy files (.npy, memory-mapped; .npz with one array)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions

_BY_NDIM = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}


def open_numpy(
    path: Path, axes: str | None = None, options: SourceOptions = AS_IT_IS
) -> OpenedImage:
    """Open a .npy or .npz file.

    Parameters
    ----------
    axes : str, optional
        Default by the number of axes: yx, zyx, czyx, tczyx; a last axis of 3 or 4 bytes after two
        or three others is a colour (yxs, zyxs).

    Raises
    ------
    UnsupportedFormatError
        If it is damaged, holds Python objects, or (.npz) not exactly one array.
    """
    with reading(path, "NumPy file"):
        array = _load_npz(path) if zipfile.is_zipfile(path) else _map(path)
    letters = axes or _guess(array)
    if letters is None:
        raise UnsupportedFormatError(
            f"{shown(path)}: {array.ndim} axes; expected 2 to 5, or say what they are with --axes"
        )
    rgb = letters.endswith("s") and array.dtype == np.uint8
    if rgb and array.shape[-1] == 4:
        array = array[..., :3]
    return OpenedImage(path, "NumPy file", array, letters, is_rgb=rgb and array.shape[-1] == 3)


def _map(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _load_npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) != 1:
            raise UnsupportedFormatError(
                f"{shown(path)}: holds {len(entries)} arrays; expected one"
            )
        check_size(path, entries[0].file_size, path.stat().st_size, compressed=True)
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[arrays.files[0]]


def _guess(array: Any) -> str | None:
    if array.ndim in (3, 4) and array.shape[-1] in (3, 4) and array.dtype == np.uint8:
        letters = _BY_NDIM[array.ndim]
        return f"{letters[1:]}s" if min(array.shape[-3:-1]) > 4 else letters
    return _BY_NDIM.get(array.ndim)
