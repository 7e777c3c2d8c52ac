"""One level of a label image as whole storage objects with entity tags: read and replace exactly one version.

Zarr's own writers can't tell which version they replace; here each object is read and replaced by its tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from itertools import product

import numpy as np

from volseg.editing.deltas import Box, Index, Place
from volseg.errors import AlreadyWrittenError, ChangedError, InputError
from volseg.volume.arrays import LevelArray


class StoredLevel:
    """One level's objects, seen as z, y, x per time.

    Parameters
    ----------
    lazy
        The level.

    Raises
    ------
    InputError
        If one object holds several times or channels.
    """

    def __init__(self, lazy: LevelArray) -> None:
        self.lazy = lazy
        self.store = lazy.store
        self.shape: Index = lazy.grid.shape
        self.chunks: Index = lazy.grid.chunk
        self.dtype = lazy.dtype
        self.times = lazy.shape[lazy.axes.index("t")] if "t" in lazy.axes else 1
        for axis, size in zip(lazy.axes, lazy.objects, strict=True):
            if axis in "tc" and size > 1:
                raise InputError(
                    f"{lazy.store.location}/{lazy.path}: one storage object holds {size} indices of "
                    f"axis {axis}; editable labels need chunks of 1 along it: copy them first"
                )

    def box(self, index: Index) -> Box:
        """Return the voxels of an object (slices z, y, x), cut at the volume's end."""
        z, y, x = (
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(index, self.chunks, self.shape, strict=True)
        )
        return z, y, x

    def origin(self, index: Index) -> Index:
        """Return the first voxel of an object."""
        z, y, x = (i * c for i, c in zip(index, self.chunks, strict=True))
        return z, y, x

    def places(self, time: int, box: Box) -> Iterator[Place]:
        """Yield the objects that a box of voxels touches."""
        spans = (
            range(s.start // c, -(-s.stop // c)) for s, c in zip(box, self.chunks, strict=True)
        )
        for z, y, x in product(*spans):
            yield Place(time, z, y, x)

    def key(self, place: Place) -> str:
        """Return the key of an object in the store."""
        return self.lazy.codec.key(place.zyx, place.time)

    def read(self, place: Place) -> tuple[np.ndarray, str | None]:
        """Return an object's voxels (z, y, x) and tag; the fill value and None where it is not stored."""
        found = self.store.get_with_etag(self.key(place))
        codec = self.lazy.codec
        whole = codec.view(codec.unpack(None if found is None else found[0]))
        inner = tuple(slice(0, s.stop - s.start) for s in self.box(place.zyx))
        return np.ascontiguousarray(whole[inner]), None if found is None else found[1]

    def etag(self, place: Place) -> str | None:
        """Return the tag of an object, None where it is not stored."""
        stat = self.store.head(self.key(place))
        return None if stat is None else stat.etag

    def put(self, place: Place, block: np.ndarray, etag: str | None) -> str:
        """Replace exactly the version `etag` of an object (None: create it) and return the new tag.

        Empty objects are written too: nobody can delete one version of an object conditionally everywhere.

        Raises
        ------
        ChangedError
            If another version is there.
        """
        key, data = self.key(place), self._pack(block)
        if etag is not None:
            return self.store.put_if(key, data, etag)
        try:
            return self.store.put_new(key, data)
        except AlreadyWrittenError as error:
            raise ChangedError(str(error)) from None

    def stored(self, box: Box, time: int = 0) -> Iterator[Place]:
        """Yield the objects below a box that are stored, by listing."""
        known = {stat.key for stat in self.store.list(self.lazy.path)}
        return (place for place in self.places(time, box) if self.key(place) in known)

    def _pack(self, block: np.ndarray) -> bytes:
        codec = self.lazy.codec
        whole = codec.empty()
        codec.view(whole)[tuple(slice(0, n) for n in block.shape)] = block
        return codec.pack(whole) or self._empty

    @cached_property
    def _empty(self) -> bytes:
        """The bytes of an object that holds the fill value only, which `ObjectCodec.pack` leaves out."""
        return _bytes_of_empty(self.lazy)


def _bytes_of_empty(lazy: LevelArray) -> bytes:
    """Let Zarr write one empty object into memory, with the level's own codecs."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    metadata = lazy.array.metadata
    unit = lazy.codec.shape
    prototype = default_buffer_prototype()
    items = {}
    for name, buffer in metadata.to_buffer_dict(prototype).items():
        document = json.loads(buffer.to_bytes())
        if "shape" in document:
            document["shape"] = list(unit)
        items[name] = prototype.buffer.from_bytes(json.dumps(document).encode())
    array = zarr.open_array(MemoryStore(items), mode="r+", zarr_format=metadata.zarr_format)
    array = array.with_config({"write_empty_chunks": True})  # open_array itself ignores it
    array[...] = lazy.codec.fill
    return bytes(items[array.metadata.encode_chunk_key((0,) * len(unit))].to_bytes())
