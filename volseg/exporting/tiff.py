"""Label stacks as OME-TIFF (BigTIFF where needed), strip by packed strip, or preallocated and filled block by block.

Uncompressed stacks are contiguous: ImageJ maps them, and blocks can be written in any order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, StorageError, UnsupportedFormatError
from volseg.exporting.ahead import in_order
from volseg.exporting.block_reader import BlockReader
from volseg.exporting.digest import TrailingDigest
from volseg.exporting.narrow import TooNarrowError, candidates, narrowed
from volseg.exporting.packed import PACKINGS, packed_strips
from volseg.exporting.selection import Selection
from volseg.geometry import Region, Triple
from volseg.progress import Progress

COMPRESSIONS = {"none": None} | {name: name for name in PACKINGS}
_BIG = 2**32 - 2**25
_BLOCK_BYTES = 2**24
_READERS = 2
_AHEAD = 16
_SYNC_BYTES = 2**28


def write_stack(
    selections: list[Selection],
    path: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    compression: str | None = None,
    imagej: bool = False,
) -> dict[str, str]:
    """Write all slices into one file, ids in the smallest of uint8, uint16, uint32 that holds them.

    Several label images become channels of their names, in which ids may repeat.

    Parameters
    ----------
    compression : {"none", "zlib", "zstd", "lzw"}, optional
        zlib by default, none for a hyperstack of ImageJ's own. Every reader knows zlib, labels take a twentieth of the
        place with it, and it is faster than writing them in full. Only uncompressed stacks are mapped without loading.
    imagej : bool
        ImageJ's own hyperstack metadata instead of OME-XML (ids up to 65535).
    """
    compression = compression or ("none" if imagej else "zlib")
    if compression not in COMPRESSIONS:
        raise InputError(f"compression {compression!r}: expected one of {', '.join(COMPRESSIONS)}")
    limit = 65535 if imagej else 2**32 - 1
    common = set.intersection(*(set(candidates(one, limit)) for one in selections))
    digests: dict[str, str] = {}
    for dtype in sorted(common, key=lambda one: one.itemsize):
        try:
            if len(selections) > 1:
                write_channels(selections, path, dtype, provenance, progress, imagej, compression)
            elif COMPRESSIONS[compression] is None:
                digest = _write_mapped(selections[0], path, dtype, provenance, progress, imagej)
                digests = {path.name: digest}
            else:
                _write_packed(selections[0], path, dtype, provenance, progress, imagej, compression)
        except TooNarrowError:
            path.unlink(missing_ok=True)
            continue
        check_stack(selections, path)
        return digests
    names = ", ".join(one.labels.name for one in selections)
    raise UnsupportedFormatError(
        f"{names}: ids beyond {limit} don't fit "
        f"{'an ImageJ' if imagej else 'a'} TIFF; export OME-TIFF, JSON or OME-Zarr"
    )


def write_channels(
    selections: list[Selection],
    path: Path,
    dtype: np.dtype[np.generic],
    provenance: dict[str, Any],
    progress: Progress,
    imagej: bool,
    compression: str,
) -> None:
    """Write several label images as the channels of one stack, pages in the order z, c."""

    def pages() -> Generator[NDArray[np.generic], None, None]:
        blocks = list(selections[0].blocks(slabs=True))
        for done, region in enumerate(blocks, 1):
            slabs = [narrowed(one.read(region), dtype) for one in selections]
            for planes in zip(*slabs, strict=True):
                yield from planes
            progress("export", done, len(blocks))

    several = [one.labels.name for one in selections]
    with closing(pages()) as made:
        _imwrite(
            selections[0], path, dtype, provenance, imagej, made,
            channels=several, compression=COMPRESSIONS[compression],
        )  # fmt: skip


def _write_mapped(
    selection: Selection,
    path: Path,
    dtype: np.dtype[np.generic],
    provenance: dict[str, Any],
    progress: Progress,
    imagej: bool,
) -> str:
    """Lay the file out, then fill it with several blocks at once; returns its SHA-256."""
    import tifffile

    _imwrite(selection, path, dtype, provenance, imagej, None)
    with tifffile.TiffFile(path) as file:
        offset = file.series[0].dataoffset
    if offset is None:
        raise StorageError(f"{path}: the TIFF was not laid out in one piece")
    reader, out = BlockReader(selection, dtype), os.open(path, os.O_RDWR)
    blocks = list(selection.blocks(_BLOCK_BYTES))
    ends = [_end(selection, offset, region, dtype) for region in blocks]
    syncs: list[Future[None]] = []
    try:
        with (
            TrailingDigest(path) as digest,
            ThreadPoolExecutor(_READERS) as pool,
            ThreadPoolExecutor(1) as flusher,
        ):
            fill = partial(_fill, reader, selection.shape, out, offset)
            for done, _ in enumerate(in_order(pool, fill, blocks, _AHEAD)):
                digest.advance(ends[done])
                if ends[done] > (len(syncs) + 1) * _SYNC_BYTES:
                    syncs.append(flusher.submit(os.fdatasync, out))  # so that the last has little
                progress("export", done + 1, len(blocks))
            for one in syncs:
                one.result()
            return digest.finished()
    finally:
        os.close(out)


def _fill(reader: BlockReader, shape: Triple, out: int, offset: int, region: Region) -> None:
    """Read a block and put it into its place in the file."""
    _, height, width = shape
    (z0, _), (y0, y1), _ = region
    data = reader.read(region)
    if data is None:
        return  # what was never written reads as background
    row = width * data.dtype.itemsize
    if y1 - y0 == height:
        _put(out, data, offset + z0 * height * row)
        return
    for z, plane in enumerate(data, z0):
        _put(out, plane, offset + (z * height + y0) * row)


def _put(out: int, data: NDArray[np.generic], place: int) -> None:
    view = memoryview(np.ascontiguousarray(data).data).cast("B")
    while view:
        written = os.pwrite(out, view, place)
        view, place = view[written:], place + written


def _end(selection: Selection, offset: int, region: Region, dtype: np.dtype[np.generic]) -> int:
    """Up to which byte the file is finished once all blocks up to `region` are."""
    _, height, width = selection.shape
    (z0, z1), (_, y1), _ = region
    slices = z1 if y1 == height else z0
    return offset + slices * height * width * dtype.itemsize


def _write_packed(
    selection: Selection,
    path: Path,
    dtype: np.dtype[np.generic],
    provenance: dict[str, Any],
    progress: Progress,
    imagej: bool,
    compression: str,
) -> None:
    rows = min(selection.shape[1], selection.labels.levels[selection.level].grid.chunk[1])
    strips = packed_strips(selection, dtype, rows, compression, progress)
    with closing(strips):
        _imwrite(
            selection, path, dtype, provenance, imagej, strips,
            compression=compression, rowsperstrip=rows,
        )  # fmt: skip


def _imwrite(
    selection: Selection,
    path: Path,
    dtype: np.dtype[np.generic],
    provenance: dict[str, Any],
    imagej: bool,
    pages: Iterator[NDArray[np.generic]] | Iterator[bytes] | None,
    *,
    channels: list[str] | None = None,
    **options: Any,
) -> None:
    """Write a file of the selection's shape: from pages or packed strips, or empty to be filled.

    Parameters
    ----------
    channels : list of str, optional
        Names of the channels (z, c, y, x) of which `pages` are.
    """
    import tifffile

    z, y, x = selection.scale
    depth, height, width = selection.shape
    shape = (depth, len(channels), height, width) if channels else selection.shape
    axes = "ZCYX" if channels else "ZYX"
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    about = json.dumps(provenance, ensure_ascii=True)
    if imagej:
        metadata: dict[str, Any] = {"axes": axes, "spacing": z, "unit": "um", "Info": about}
        units = {"resolution": (1 / x, 1 / y)}
        if channels:
            metadata["Labels"] = channels * depth
        if nbytes > _BIG:
            raise UnsupportedFormatError("ImageJ TIFFs end at 4 GB; export OME-TIFF instead")
    else:
        sizes = {"X": x, "Y": y, "Z": z}
        metadata = {"axes": axes, "Name": selection.labels.name, "Description": about}
        metadata |= {f"PhysicalSize{a}": size for a, size in sizes.items()}
        metadata |= {f"PhysicalSize{a}Unit": "µm" for a in sizes}
        if channels:
            metadata["Channel"] = {"Name": channels}
        units = {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}  # type: ignore[dict-item]
    tifffile.imwrite(
        path,
        data=pages,
        shape=shape,
        dtype=dtype,
        bigtiff=nbytes > _BIG,
        ome=not imagej,
        imagej=imagej,
        photometric="minisblack",
        metadata=metadata,
        software="volseg",
        **units,  # type: ignore[arg-type]
        **options,
    )


def write_slices(
    selection: Selection,
    folder: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    compression: str = "zlib",
) -> None:
    """Write one file per slice, `z00000.tif`, numbered by the level's z."""
    import tifffile

    small = bool(selection.rows) and max(selection.rows) <= 65535
    dtype: np.dtype[np.generic] = np.dtype(np.uint16 if small else np.uint32)
    _, y, x = selection.scale
    blocks = list(selection.blocks(slabs=True))
    for done, region in enumerate(blocks, 1):
        for z, plane in enumerate(selection.read(region), region[0][0] + selection.origin[0]):
            try:
                data = narrowed(plane, dtype)
            except TooNarrowError:
                data = narrowed(plane, np.dtype(np.uint32))
            tifffile.imwrite(
                folder / f"z{z:05d}.tif",
                data,
                compression=COMPRESSIONS[compression],
                photometric="minisblack",
                resolution=(1e4 / x, 1e4 / y),
                resolutionunit="CENTIMETER",
                metadata=None,
                description=f"{selection.labels.name}, z {z}",
            )
        progress("export", done, len(blocks))


def write_objects(
    selection: Selection,
    folder: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    compression: str = "zlib",
) -> None:
    """Write one cropped binary stack per object, its place in the name: `7_z3_y40_x12.tif`."""
    from volseg.exporting.measure import measure
    from volseg.exporting.selection import Selection as Part

    table = measure(selection, intensities=False, surfaces=False, progress=progress)
    boxes = table.boxes()
    for done, (one, box) in enumerate(sorted(boxes.items()), 1):
        part = Part(selection.labels, selection.level, selection.time, box, frozenset([one]))
        place = "_".join(f"{a}{n}" for a, n in zip("zyx", part.origin, strict=True))
        pages = (
            np.where(plane != 0, 255, 0).astype(np.uint8)
            for region in part.blocks(slabs=True)
            for plane in part.read(region)
        )
        about = provenance | {"object": one, "origin_zyx": list(part.origin)}
        path = folder / f"{one}_{place}.tif"
        packing = COMPRESSIONS[compression]
        _imwrite(part, path, np.dtype(np.uint8), about, False, pages, compression=packing)
        progress("export", done, len(boxes))


def check_stack(selections: list[Selection], path: Path) -> None:
    """Reopen a stack and compare shape, type and three slices of each channel with the labels.

    Raises
    ------
    StorageError
        If they differ: the file was damaged while it was written.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            _compare(selections, path, file)
    except (tifffile.TiffFileError, RuntimeError, ValueError) as error:  # as the decoders raise
        raise StorageError(f"{path}: can't be read back ({error}); try again") from error


def _compare(selections: list[Selection], path: Path, file: Any) -> None:
    series = file.series[0]
    if series.kind not in ("ome", "imagej"):
        raise StorageError(f"{path}: its metadata can't be read back; try again")
    depth, height, width = selections[0].shape
    several, found = len(selections), tuple(series.shape)
    shape = (depth, several, height, width)
    if [n for n in found if n > 1] != [n for n in shape if n > 1]:
        raise StorageError(f"{path}: reopened with shape {found}, expected {shape}; try again")
    rows = min(height, max(1, 2**22 // max(1, width)))
    for z in sorted({0, depth // 2, depth - 1}):
        region: Region = ((z, z + 1), (0, rows), (0, width))
        for channel, selection in enumerate(selections):
            page = file.pages[z * several + channel].asarray().reshape(height, width)
            if not np.array_equal(page[:rows], selection.read(region)[0]):
                raise StorageError(f"{path}: slice {z} differs from the labels; try again")
