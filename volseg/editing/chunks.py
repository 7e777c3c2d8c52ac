"""One level of a label image as whole storage objects with entity tags: read and replace exactly one version.

Zarr's own writers can't tell which version they replace; here each object is read and replaced by its tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from volseg.editing.deltas import Place
from volseg.errors import AlreadyWrittenError, ChangedError, InputError
from volseg.geometry import Region, Triple, region_origin, slices, whole_region
from volseg.images.arrays import LevelArray


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
        self.grid = lazy.grid
        self.shape = lazy.grid.shape
        self.chunks = lazy.grid.chunk
        self.dtype = lazy.dtype
        self.times = lazy.shape[lazy.axes.index("t")] if "t" in lazy.axes else 1
        for axis, size in zip(lazy.axes, lazy.objects, strict=True):
            if axis in "tc" and size > 1:
                raise InputError(
                    f"{lazy.store.location}/{lazy.path}: one storage object holds {size} indices of "
                    f"axis {axis}; editable labels need chunks of 1 along it: copy them first"
                )

    def region(self, place: Place) -> Region:
        """Return the voxels of an object, cut at the volume's end."""
        return self.grid.region(place.zyx)

    def origin(self, place: Place) -> Triple:
        """Return the first voxel of an object."""
        return region_origin(self.region(place))

    def places(self, time: int, region: Region) -> Iterator[Place]:
        """Yield the objects that a region of voxels touches."""
        return (Place(time, *index) for index in self.grid.index_of(region))

    def key(self, place: Place) -> str:
        """Return the key of an object in the store."""
        return self.lazy.codec.key(place.zyx, place.time)

    def read(self, place: Place) -> tuple[np.ndarray, str | None]:
        """Return an object's voxels (z, y, x) and tag; the fill value and None where it is not stored."""
        found = self.store.get_with_etag(self.key(place))
        codec = self.lazy.codec
        whole = codec.view(codec.unpack(None if found is None else found[0]))
        inner = slices(self.region(place), self.origin(place))
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

    def stored(self, time: int = 0) -> Iterator[Place]:
        """Yield the objects of a time that are stored, by listing."""
        known = {stat.key for stat in self.store.list(self.lazy.path)}
        return (
            place
            for place in self.places(time, whole_region(self.shape))
            if self.key(place) in known
        )

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
