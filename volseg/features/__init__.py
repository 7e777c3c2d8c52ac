"""What a model sees and makes of a slice: rendering, tiles, and the cache of embeddings on the store that all workers
and the plugin share.
"""

from volseg.features.ahead import embed_volume
from volseg.features.cache import EmbeddingCache, cache_key, cache_of
from volseg.features.reading import SlabReader, SourceVersions, TileEncoder
from volseg.features.trimming import trim_embeddings

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
