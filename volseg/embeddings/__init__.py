"""Embeddings of slices: the cache on the store that all workers and the plugin share, and filling
it ahead.
"""

from volseg.embeddings.ahead import embed_volume
from volseg.embeddings.cache import EmbeddingCache, cache_key, cache_of
from volseg.embeddings.reading import SlabReader, SourceVersions, TileEncoder
from volseg.embeddings.trimming import trim_embeddings

__all__ = [
    "EmbeddingCache",
    "SlabReader",
    "SourceVersions",
    "TileEncoder",
    "cache_key",
    "cache_of",
    "embed_volume",
    "trim_embeddings",
]
