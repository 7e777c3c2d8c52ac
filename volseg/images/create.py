"""Creating groups and arrays on a store: metadata first into memory, then object by object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, VolsegError
from volseg.geometry import Triple
from volseg.images.image import Volume, open_volume
from volseg.images.levels import LevelPlan, level_plan
from volseg.images.metadata import (
    VERSIONS,
    Axis,
    Dataset,
    group_documents,
    multiscale_document,
    ngff_attributes,
    zarr_format,
)
from volseg.images.targets.contents import MARK
from volseg.images.targets.permission import Permission
from volseg.images.targets.places import writable_place
from volseg.images.targets.replacement import volume_replacement
from volseg.storage import Location, Store

IMAGE_CHUNKS: Triple = (16, 256, 256)
RGB_COLORS = ("FF0000", "00FF00", "0000FF")
_COLORS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def array_documents(
    version: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: Any,
    *,
    axes: Sequence[str],
    shards: Sequence[int] | None = None,
    level: int = 1,
) -> dict[str, bytes]:
    """Return the metadata documents (by key) of an array, zstd-compressed, with "/" in its keys and fill value 0."""
    import zarr
    from zarr.storage import MemoryStore

    memory: dict[str, Any] = {}
    v2 = version == "0.4"
    compressor: Any
    if v2:
        from numcodecs import Zstd

        compressor = Zstd(level=level)
    else:
        from zarr.codecs import ZstdCodec

        compressor = ZstdCodec(level=level)
    zarr.create_array(
        MemoryStore(memory),
        shape=tuple(shape),
        chunks=tuple(chunks),
        shards=None if shards is None else tuple(shards),
        dtype=np.dtype(np.dtype(dtype).str),  # C's names for one type are several, Zarr's is one
        compressors=compressor,
        filters=None,
        fill_value=0,
        zarr_format=zarr_format(version),  # type: ignore[arg-type]
        dimension_names=None if v2 else list(axes),
        chunk_key_encoding={"name": "v2" if v2 else "default", "separator": "/"},
    )
    wanted = (".zarray",) if v2 else ("zarr.json",)
    return {key: memory[key].to_bytes() for key in wanted}


@contextlib.contextmanager
def undone_on_failure(store: Store, prefix: str) -> Iterator[None]:
    """Delete everything below a prefix if what happens inside fails, also by an interrupt."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(VolsegError):
            store.delete_all(prefix)
        raise


def put_group(store: Store, path: str, version: str, attributes: dict[str, Any]) -> None:
    """Write a group's documents."""
    for key, document in group_documents(version, attributes).items():
        store.put(f"{path}/{key}" if path else key, document)


@contextlib.contextmanager
def claimed_group(
    store: Store, path: str, version: str, attributes: dict[str, Any]
) -> Iterator[None]:
    """Create a group that nobody else creates, undone if what happens inside fails.

    Raises
    ------
    AlreadyWrittenError
        If the group is there; then nothing is touched.
    """
    documents = list(group_documents(version, attributes).items())
    key, document = documents[0]
    store.put_new(f"{path}/{key}", document)
    with undone_on_failure(store, path):
        for key, document in documents[1:]:
            store.put(f"{path}/{key}", document)
        yield


def fitted(chunks: Sequence[int], shape: Sequence[int]) -> Triple:
    """Return a (z, y, x) chunk shape no larger than the array."""
    z, y, x = (max(1, min(int(c), int(n))) for c, n in zip(chunks, shape, strict=True))
    return (z, y, x)


def datasets_of(
    plans: Sequence[LevelPlan],
    axes: Sequence[Axis],
    scale: Sequence[float],
    origin: Sequence[float],
) -> list[Dataset]:
    """Return the levels' datasets with exact transforms: a coarse voxel's centre is the mean of its voxels' centres.

    Parameters
    ----------
    plans
        Levels.
    axes
        The array's axes.
    scale, origin
        Scale and translation of level 0 per axis, in the axes' units.
    """
    result = []
    for i, plan in enumerate(plans):
        factors = dict(zip("zyx", plan.total, strict=True))
        scales, shifts = [], []
        for axis, s, o in zip(axes, scale, origin, strict=True):
            factor = factors.get(axis.kind, 1)
            scales.append(s * factor)
            shifts.append(o + s * (factor - 1) / 2)
        result.append(Dataset(str(i), tuple(scales), tuple(shifts)))
    return result


def create_volume(
    url: str | Path | Location,
    *,
    axes: str | Sequence[str],
    shape: Sequence[int],
    dtype: Any,
    scale_um: Sequence[float],
    ngff: str = "0.5",
    channels: Sequence[str] | None = None,
    chunks: Sequence[int] | None = None,
    levels: int | None = None,
    shards: Sequence[int] | None = None,
    rgb: bool = False,
    time_step_s: float | None = None,
    origin_um: Sequence[float] = (0.0, 0.0, 0.0),
    name: str | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
) -> Volume:
    """Create an empty OME-Zarr image with a whole pyramid of empty levels, and open it writable.

    Parameters
    ----------
    url
        Where; a folder or S3.
    axes
        Any of "tczyx" in this order, with y and x.
    shape
        Length along each of them.
    dtype
        Type of the voxels.
    scale_um
        Voxel size (z, y, x) in micrometres, also for 2D images.
    ngff
        "0.5" (Zarr 3) or "0.4" (Zarr 2).
    channels
        A label per channel.
    chunks, shards
        (z, y, x) of a chunk and, in 0.5, of a shard; one time and channel each.
    levels
        Number of levels; as `level_plan` chooses where None.
    rgb
        The three uint8 channels are one colour image.
    time_step_s
        Seconds between time points.
    origin_um
        Centre of the first voxel (z, y, x) in micrometres.
    name
        Name in the metadata; else the last part of the location.
    overwrite
        Replace a volume that volseg wrote; where it has voxels, it is kept in the trash beside it.
    overwrite_edits
        With `overwrite`: also one with label images.

    Raises
    ------
    ExistsError
        If something is there that may not be replaced.
    InputError
        If the arguments contradict each other, or nothing may be written there.
    NotThereError, AccessDeniedError, StorageFullError
        If the place can't be used; then nothing is left behind.
    """
    options: dict[str, Any] = {"ngff": ngff, "channels": channels, "chunks": chunks}
    options |= {"levels": levels, "shards": shards, "rgb": rgb, "time_step_s": time_step_s}
    options |= {"axes": axes, "shape": shape, "dtype": dtype, "scale_um": scale_um, "name": name}
    options["origin_um"] = origin_um
    with volume_replacement(url, Permission(overwrite, overwrite_edits)) as place:
        write_empty_volume(place, **options)
    return open_volume(writable_place(url), writable=True)


def write_empty_volume(
    place: Location,
    *,
    axes: str | Sequence[str],
    shape: Sequence[int],
    dtype: Any,
    scale_um: Sequence[float],
    ngff: str = "0.5",
    channels: Sequence[str] | None = None,
    chunks: Sequence[int] | None = None,
    levels: int | None = None,
    shards: Sequence[int] | None = None,
    rgb: bool = False,
    time_step_s: float | None = None,
    origin_um: Sequence[float] = (0.0, 0.0, 0.0),
    name: str | None = None,
) -> Volume:
    """Write the metadata of an empty image to a place that is empty, and open it; see `create_volume`."""
    axes = tuple(axes)
    sizes = _checked_sizes(axes, shape, ngff, dtype, rgb, shards)
    plans = _plans(sizes, scale_um, levels)
    store = Store(place)
    described = [_axis(kind, time_step_s) for kind in axes]
    by_kind = dict(zip("zyx", scale_um, strict=True), t=time_step_s or 1.0)
    scale = [by_kind.get(kind, 1.0) for kind in axes]
    shift = dict(zip("zyx", map(float, origin_um), strict=True))
    datasets = datasets_of(plans, described, scale, [shift.get(kind, 0.0) for kind in axes])
    named = multiscale_document(ngff, name or store.location.name, described, datasets)
    omero = _omero(sizes.get("c", 1), dtype, channels, rgb)
    content: dict[str, Any] = {"multiscales": [named], "omero": omero}
    for dataset, plan in zip(datasets, plans, strict=True):
        full = [sizes[k] if k in "tc" else plan.shape["zyx".index(k)] for k in axes]
        piece = fitted(chunks or IMAGE_CHUNKS, plan.shape)
        outer = None if shards is None else _whole_shard(shards, piece, plan.shape)
        documents = array_documents(
            ngff,
            full,
            _per_axis(piece, axes),
            dtype,
            axes=axes,
            shards=None if outer is None else _per_axis(outer, axes),
        )
        for key, document in documents.items():
            store.put(f"{dataset.path}/{key}", document)
    put_group(store, "", ngff, {**ngff_attributes(ngff, content), MARK: {"format": 1}})
    return open_volume(store.location, writable=True)


def _plans(sizes: dict[str, int], scale_um: Sequence[float], levels: int | None) -> list[LevelPlan]:
    """Return the levels of an image with these lengths along its axes."""
    if len(scale_um) != 3 or not all(0 < s < float("inf") for s in scale_um):
        raise InputError(
            f"voxel size {scale_um!r}: expected three positive numbers (z, y, x) in micrometres"
        )
    zyx = tuple(sizes.get(kind, 1) for kind in "zyx")
    if levels is None:
        return level_plan(zyx, scale_um)
    return level_plan(zyx, scale_um, smallest=1, most=levels)


def _checked_sizes(
    axes: tuple[str, ...], shape: Sequence[int], ngff: str, dtype: Any, rgb: bool, shards: Any
) -> dict[str, int]:
    if ngff not in VERSIONS:
        raise InputError(f"NGFF version {ngff!r}: volseg writes {' and '.join(VERSIONS)}")
    if list(axes) != [k for k in "tczyx" if k in axes] or not {"y", "x"} <= set(axes):
        raise InputError(
            f"axes {''.join(axes)!r}: expected some of 'tczyx' in this order, with y and x"
        )
    if len(shape) != len(axes) or any(int(n) < 1 for n in shape):
        raise InputError(
            f"shape {tuple(shape)} does not give a positive length for each of the axes {''.join(axes)}"
        )
    sizes = dict(zip(axes, map(int, shape), strict=True))
    if np.dtype(dtype).kind not in "biuf" or np.dtype(dtype).itemsize > 8:
        raise InputError(
            f"voxels of type {np.dtype(dtype)}: expected whole or real numbers of at most 64 bits"
        )
    if rgb and (sizes.get("c") != 3 or np.dtype(dtype) != np.uint8):
        raise InputError("a colour image has exactly three channels of uint8")
    if shards is not None and ngff == "0.4":
        raise InputError("shards need NGFF 0.5 (Zarr 3)")
    return sizes


def _axis(kind: str, time_step_s: float | None) -> Axis:
    if kind == "t":
        return Axis(kind, kind, "second" if time_step_s else None)
    return Axis(kind, kind, None if kind == "c" else "micrometer")


def _per_axis(zyx: Sequence[int], axes: Sequence[str]) -> list[int]:
    by_kind = dict(zip("zyx", zyx, strict=True))
    return [by_kind.get(kind, 1) for kind in axes]


def _whole_shard(shards: Sequence[int], chunk: Triple, shape: Triple) -> Triple:
    """Return the shard shape cut to the array, a whole number of chunks along each axis."""
    z, y, x = (
        max(1, min(-(-int(s) // c), -(-n // c))) * c
        for s, c, n in zip(shards, chunk, shape, strict=True)
    )
    return (z, y, x)


def _omero(n: int, dtype: Any, names: Sequence[str] | None, rgb: bool) -> dict[str, Any]:
    """Return channel metadata: label, colour, and the type's range as the display window."""
    if names is not None and len(names) != n:
        raise InputError(f"{len(names)} channel names for {n} channels")
    kind = np.dtype(dtype)
    low, high = (0.0, 1.0)
    if kind.kind in "iu":
        low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    colors = RGB_COLORS if rgb else _COLORS
    channels = [
        {
            "label": names[i] if names else ("red", "green", "blue")[i] if rgb else f"channel {i}",
            "color": colors[i % len(colors)],
            "active": True,
            "window": {"min": low, "max": high, "start": low, "end": high},
        }
        for i in range(n)
    ]
    return {"channels": channels, "rdefs": {"model": "color" if rgb or n > 1 else "greyscale"}}
