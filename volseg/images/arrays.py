"""One level's array: opened from its metadata, seen as (t, c,) z, y, x, read lazily, packed object by object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError, NotOmeZarrError, NotThereError
from volseg.geometry import Grid, Region, Triple, check_region, slices
from volseg.images.axes import Axis
from volseg.images.chunk_keys import with_true_separator
from volseg.images.documents import Documents
from volseg.images.metadata import array_key
from volseg.storage import Store
from volseg.storage.failures import translated

if TYPE_CHECKING:
    import zarr

Point = tuple[float, float, float]
"""(z, y, x), micrometres."""


def open_array(documents: Documents, path: str, zarr_format: int) -> zarr.Array[Any]:
    """Open the array at a path from its one metadata document; nested chunks are found where that doesn't say so.

    Raises
    ------
    NotThereError
        If there is none.
    NotOmeZarrError
        If its metadata is damaged, or of a kind that Zarr can't read.
    """
    import zarr
    from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
    from zarr.storage import StorePath

    store, key = documents.store, f"{path}/{array_key(zarr_format)}"
    document = documents.get(key)
    if document is None:
        raise NotThereError(
            f"{store.location}/{key} does not exist, though the image's metadata names it"
        )
    if zarr_format == 2:
        document = with_true_separator(store, path, document)
    kind: Any = ArrayV2Metadata if zarr_format == 2 else ArrayV3Metadata
    try:
        metadata = kind.from_dict(document)
    except Exception as error:  # zarr raises many kinds for wrong documents
        said = " ".join(str(error).split())
        raise NotOmeZarrError(f"{store.location}/{key} can't be read: {said}") from error
    return zarr.Array(zarr.AsyncArray(metadata, StorePath(store.zarr(), path)))


class LevelArray:
    """One resolution level of an image or label image: a lazy array, and where its voxels lie.

    Its axes are those that it has of t and c, and always z, y, x, in this order. Slicing with integers and slices, and
    `numpy.asarray`, read; nothing is kept. `shape`, `ndim`, `dtype`, `chunks` and all else is known without reading.

    Parameters
    ----------
    store
        Store of the image or label image.
    path
        Path of the array in it.
    array
        The opened array, with the axes that the file has.
    axes
        The array's axes in its own order.
    index
        Number of the level from 0, the finest.
    scale, translation
        Voxel size and centre of the first voxel, (z, y, x), micrometres.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        array: zarr.Array[Any],
        axes: Sequence[Axis],
        index: int = 0,
        scale: Point = (1.0, 1.0, 1.0),
        translation: Point = (0.0, 0.0, 0.0),
    ) -> None:
        if len(axes) != array.ndim:
            raise NotOmeZarrError(
                f"{store.location}/{path} has {array.ndim} axes, but the metadata names {len(axes)}"
            )
        self.store = store
        self.path = path
        self.array = array
        self.index = index
        self.scale = scale
        self.translation = translation
        self.kinds = tuple(axis.kind for axis in axes)
        self.axes = tuple(kind for kind in "tczyx" if kind in self.kinds or kind == "z")
        self.dtype: np.dtype[Any] = np.dtype(array.dtype).newbyteorder("=")
        self.shape = self._seen(array.shape)
        self.chunks = self._seen(array.chunks)
        self.objects = self._seen(array.shards or array.chunks)
        self.ndim = len(self.shape)

    @property
    def lazy(self) -> LevelArray:
        """The level itself, by the name under which the array was kept beside it once."""
        return self

    def _seen(self, values: Sequence[int]) -> tuple[int, ...]:
        by_kind = dict(zip(self.kinds, values, strict=True))
        return tuple(int(by_kind.get(kind, 1)) for kind in self.axes)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, uncompressed."""
        return self.size * self.dtype.itemsize

    @property
    def grid(self) -> Grid:
        """The (z, y, x) grid of storage objects: chunks, or shards where there are any; its `shape` is in voxels."""
        return Grid(_zyx(self.shape), _zyx(self.objects))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        what = f"{''.join(self.axes)} {self.shape} {self.dtype}"
        return f"LevelArray({str(self.store.location)!r}, {self.path!r}, {what})"

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            missing = self.ndim - len(keys) + 1
            keys = keys[:at] + (slice(None),) * missing + keys[at + 1 :]
        if len(keys) > self.ndim:
            raise IndexError(f"too many indices: {len(keys)} for {self.ndim} axes")
        keys = keys + (slice(None),) * (self.ndim - len(keys))
        ranges, drop = [], []
        for i, (k, n) in enumerate(zip(keys, self.shape, strict=True)):
            if isinstance(k, slice):
                start, stop, step = k.indices(n)
                if step < 1:
                    raise IndexError("steps must be positive")
                ranges.append(slice(start, max(start, stop), step))
            else:
                position = int(k) + (n if k < 0 else 0)
                if not 0 <= position < n:
                    raise IndexError(
                        f"index {k} is out of bounds for axis {self.axes[i]} with size {n}"
                    )
                ranges.append(slice(position, position + 1, 1))
                drop.append(i)
        found = self._read(dict(zip(self.axes, ranges, strict=True)))
        return found.reshape([n for i, n in enumerate(found.shape) if i not in drop])[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("a lazy array can't be seen as a NumPy array without reading a copy")
        data: np.ndarray[Any, Any] = np.asarray(self[...])
        return data if dtype is None else data.astype(dtype, copy=False)

    def _read(self, ranges: dict[str, slice]) -> np.ndarray[Any, Any]:
        """Read ranges by axis; the result has `self.axes`."""
        with translated(self.store.location, self.path):
            data = np.asarray(self.array[tuple(ranges[kind] for kind in self.kinds)])
        order = [self.kinds.index(kind) for kind in self.axes if kind in self.kinds]
        data = data.transpose(order)
        if "z" not in self.kinds:
            data = np.expand_dims(data, self.axes.index("z"))[self._z_of_flat(ranges["z"])]
        return np.ascontiguousarray(data, dtype=self.dtype)

    def _z_of_flat(self, wanted: slice) -> tuple[slice, ...]:
        return (slice(None),) * self.axes.index("z") + (wanted,)

    def read(self, region: Region, time: int = 0, channel: int = 0) -> np.ndarray[Any, Any]:
        """Read a region of one time and channel.

        Returns
        -------
        ndarray
            (z, y, x), in the array's dtype, native byte order, C order.

        Raises
        ------
        InputError
            If the region, time or channel is not inside.
        """
        region = check_region(region, _zyx(self.shape))
        z, y, x = slices(region)
        ranges = {
            "z": z,
            "y": y,
            "x": x,
            "t": slice(time, time + 1),
            "c": slice(channel, channel + 1),
        }
        self.check_index("t", time)
        self.check_index("c", channel)
        data = self._read(ranges)
        return data.reshape(data.shape[-3:])

    def check_index(self, kind: str, index: int) -> None:
        """Raise InputError if a time ("t") or channel ("c") index is not there."""
        size = self.shape[self.axes.index(kind)] if kind in self.axes else 1
        if not 0 <= index < size:
            word = {"t": "time", "c": "channel"}[kind]
            raise InputError(
                f"{self.store.location}: there is no {word} {index}; it has {size}, numbered from 0"
            )

    def identity(self) -> str:
        """Return the digest (hex) of the array's metadata, attributes aside: what a plan names as its source."""
        document = self.array.metadata.to_dict()
        document.pop("attributes", None)
        text = json.dumps(document, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def object_keys(
        self, region: Region, time: int = 0, channel: int | None = None
    ) -> Iterator[str]:
        """Yield the keys, in `store`, of the objects that hold a region of one time and of one or all channels."""
        n_channels = self.shape[self.axes.index("c")] if "c" in self.axes else 1
        per_object = dict(zip(self.axes, self.objects, strict=True))
        channels = range(n_channels) if channel is None else (channel,)
        seen = sorted({c // per_object.get("c", 1) for c in channels})
        for index in self.grid.index_of(region):
            for c in seen:
                yield self.codec.key(index, time, c * per_object.get("c", 1))

    def source_objects(
        self, region: Region, *, time: int = 0, channel: int | None = None
    ) -> list[str]:
        """Return the keys, in the image's store, of the objects that hold a region; all channels where None."""
        return list(self.object_keys(region, time, channel))

    @cached_property
    def codec(self) -> ObjectCodec:
        """How this level's storage objects are named, packed and unpacked."""
        return ObjectCodec(self)


class ObjectCodec:
    """Names, packs and unpacks the storage objects (chunks, or shards where there are any) of one level.

    An unpacked object is an array of the object's full shape in the array's own axes, padded with the fill value at the
    array's far border; `view` shows the (z, y, x) part of one time and channel.
    """

    def __init__(self, level: LevelArray) -> None:
        array = level.array
        self._level = level
        self._metadata: Any = array.metadata
        # Zarr 2 keeps the order of a chunk's bytes in the metadata, Zarr 3 among the codecs
        self._config = replace(array.config, order=array.order)
        self._pipeline: Any = array.async_array.codec_pipeline
        self.shape: tuple[int, ...] = tuple(array.shards or array.chunks)
        fill = array.fill_value
        self.fill = level.dtype.type(0 if fill is None else fill)

    def coordinates(self, index: Triple, time: int = 0, channel: int = 0) -> tuple[int, ...]:
        """Return the object's coordinates in the array's own grid."""
        by_kind = dict(zip("zyx", index, strict=True)) | {"t": time, "c": channel}
        per_object = dict(zip(self._level.kinds, self.shape, strict=True))
        return tuple(
            by_kind[kind] // per_object[kind] if kind in "tc" else by_kind[kind]
            for kind in self._level.kinds
        )

    def key(self, index: Triple, time: int = 0, channel: int = 0) -> str:
        """Return the key, in the store of the image, of the object of a (z, y, x) grid index at a time and channel."""
        name = self._metadata.encode_chunk_key(self.coordinates(index, time, channel))
        return f"{self._level.path}/{name}"

    def empty(self) -> np.ndarray[Any, Any]:
        """Return the object that a missing key stands for."""
        return np.full(self.shape, self.fill, dtype=self._level.dtype)

    def view(
        self, data: np.ndarray[Any, Any], time: int = 0, channel: int = 0
    ) -> np.ndarray[Any, Any]:
        """Return the writable (z, y, x) part of an unpacked object that belongs to one time and channel."""
        wanted = {"t": time, "c": channel}
        index = tuple(
            wanted[kind] % n if kind in wanted else slice(None)
            for kind, n in zip(self._level.kinds, self.shape, strict=True)
        )
        part = data[index]
        return part if "z" in self._level.kinds else part[np.newaxis]

    def pack(self, data: np.ndarray[Any, Any]) -> bytes | None:
        """Return the stored bytes of an unpacked object; None where it holds the fill value only, and is not stored."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        if not (data.any() if self.fill == 0 else (data != self.fill).any()):
            return None
        prototype = default_buffer_prototype()
        buffer = prototype.nd_buffer.from_numpy_array(
            np.ascontiguousarray(data, self._stored_dtype)
        )
        packed = list(sync(self._pipeline.encode([(buffer, self._spec(prototype))])))
        return bytes(packed[0].to_bytes())

    def unpack(self, stored: bytes | None) -> np.ndarray[Any, Any]:
        """Return the array of stored bytes, writable, of the object's full shape; None stands for a missing object."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        if stored is None:
            return self.empty()
        prototype = default_buffer_prototype()
        buffer = prototype.buffer.from_bytes(stored)
        found = list(sync(self._pipeline.decode([(buffer, self._spec(prototype))])))
        return np.array(found[0].as_numpy_array(), dtype=self._level.dtype, order="C")

    def unpack_into(self, stored: bytes, out: np.ndarray[Any, Any]) -> bool:
        """Unpack into a C-ordered array of `shape` and the level's dtype, several times as fast as `unpack`.

        Returns
        -------
        bool
            False where the codecs are others than Zstandard alone, or the bytes are damaged: `unpack` tells how.
        """
        if not self._only_zstd:
            return False
        import numcodecs

        try:
            numcodecs.Zstd().decode(stored, out)
        except (RuntimeError, ValueError):
            return False
        return True

    @cached_property
    def _only_zstd(self) -> bool:
        from zarr.codecs import BytesCodec, ZstdCodec

        codecs: tuple[Any, ...] = getattr(self._metadata, "codecs", ())
        kinds = [type(codec) for codec in codecs]
        return (
            kinds == [BytesCodec, ZstdCodec]
            and self._stored_dtype == self._level.dtype
            and (self._stored_dtype.itemsize == 1 or str(codecs[0].endian).endswith("little"))
        )

    @property
    def _stored_dtype(self) -> np.dtype[Any]:
        return np.dtype(self._level.array.dtype)

    def _spec(self, prototype: Any) -> Any:
        return self._metadata.get_chunk_spec((0,) * len(self.shape), self._config, prototype)


def _zyx(values: Sequence[int]) -> Triple:
    z, y, x = values[-3:]
    return (int(z), int(y), int(x))
