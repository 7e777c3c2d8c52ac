"""Keeping the embedding caches of a volume within a bound: the oldest objects go first.

Deleting is always safe: what is needed again is made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.features.cache import FOLDER

if TYPE_CHECKING:
    from volseg.images.image import Volume


def trim_embeddings(volume: Volume, max_bytes: int) -> int:
    """Delete the oldest embeddings of a volume, of all its caches, until they fit into a bound.

    Parameters
    ----------
    volume : Volume
        The image; its cache lies where its labels do.
    max_bytes : int
        Bytes that may stay; 0 deletes all.

    Returns
    -------
    int
        Bytes that were deleted.
    """
    store = volume.output_store
    objects = sorted(store.list(FOLDER), key=lambda stat: (stat.modified, stat.key))
    surplus = sum(stat.size for stat in objects) - max_bytes
    freed = 0
    for stat in objects:
        if freed >= surplus:
            break
        store.delete(stat.key)
        freed += stat.size
    return freed
