"""The embedding cache: shared, versioned, resumable, filled ahead; on a folder and on S3."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from tests.models.tiny import tiny_model
from volseg.errors import InputError
from volseg.features import (
    EmbeddingCache,
    SlabReader,
    TileEncoder,
    cache_key,
    cache_of,
    embed_volume,
    trim_embeddings,
)
from volseg.features.container import DamagedError, pack, unpack
from volseg.features.rendering import Rendering, measure_rendering
from volseg.features.tiling import Tiling
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.models.model import Model
from volseg.predict.slice_predictor import open_sam_predictor
from volseg.propagation.predictor import SlicePrompt

SHAPE = (11, 100, 70)
VOXELS = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)
WHOLE = tuple((0, n) for n in SHAPE)

DTYPE = np.dtype([("image", "<f2", (32, 4, 4))])


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture
def volume(work_url: str) -> Volume:
    url = f"{work_url}/v.zarr"
    made = create_volume(
        url,
        axes="zyx",
        shape=SHAPE,
        dtype="uint8",
        scale_um=(1, 1, 1),
        chunks=(4, 32, 32),
        levels=1,
    )
    made.write(WHOLE, VOXELS)
    return open_volume(url, writable=True)


def parts(volume: Volume, model: Model, **more: Any) -> tuple[EmbeddingCache, TileEncoder]:
    rendering = Rendering(channels=(0,), low=(0.0,), high=(199.0,))
    tiling = Tiling(SHAPE[1:], 64)
    cache = cache_of(volume, model.spec, rendering, tiling, **more)
    return cache, TileEncoder(model, tiling, rendering, SlabReader(volume, 0, 0, (0,)))


def keys(volume: Volume) -> list[str]:
    return [stat.key for stat in volume.output_store.list("volseg/embeddings")]


def test_on_demand_then_from_the_store(
    volume: Volume, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, encoder = parts(volume, model)
    tile = encoder.tiling.tiles[1]
    assert cache.get(5, tile) is None
    made = cache.embedding(5, tile, encoder)
    cache.flush()
    assert (cache.encoded, cache.slices) == (8, 8)
    assert keys(volume) == [f"volseg/embeddings/{cache.key}/000000-000008/00001"]
    other, idle = parts(volume, model)
    monkeypatch.setattr(idle, "encode", None)
    found = other.embedding(5, tile, idle)
    assert found.dtype == DTYPE
    assert (found == made).all()
    assert other.encoded == 0
    image = encoder.images((5, 6), tile)
    assert (model.encode(image)[0] == made).all()


def test_a_changed_source_is_noticed(volume: Volume, model: Model) -> None:
    cache, encoder = parts(volume, model)
    near, far = encoder.tiling.tiles[0], encoder.tiling.tiles[3]
    before = cache.embedding(0, near, encoder)
    kept = cache.embedding(0, far, encoder)
    cache.flush()
    volume.write(((0, 4), (0, 32), (0, 32)), np.full((4, 32, 32), 9, np.uint8))
    again, encoder = parts(volume, model)
    assert again.get(0, near, encoder.region((0, 8), near)) is None
    after = again.embedding(0, near, encoder)
    assert (after != before).any()
    again.flush()
    assert (again.embedding(0, far, encoder) == kept).all()
    assert again.encoded == 8
    third, encoder = parts(volume, model)
    assert (third.embedding(0, near, encoder) == after).all()
    assert third.encoded == 0


def test_a_damaged_object_is_made_anew(volume: Volume, model: Model) -> None:
    cache, encoder = parts(volume, model)
    tile = encoder.tiling.tiles[0]
    made = cache.embedding(0, tile, encoder)
    cache.flush()
    (key,) = keys(volume)
    data = volume.output_store.get(key)
    volume.output_store.put(key, data[:-3])
    again, encoder = parts(volume, model)
    assert (again.embedding(0, tile, encoder) == made).all()
    again.flush()
    assert again.encoded == 8
    assert volume.output_store.get(key) == data


def test_an_announced_embedding_is_waited_for(volume: Volume, model: Model) -> None:
    first, encoder = parts(volume, model)
    second, idle = parts(volume, model)
    tile = encoder.tiling.tiles[0]
    assert first.claim((0, 8), tile)
    assert not second.claim((0, 8), tile)
    result: list[Any] = []
    waiting = threading.Thread(target=lambda: result.append(second.obtain((0, 8), tile, idle)))
    waiting.start()
    made = encoder.encode((0, 8), tile)
    first.add((0, 8), tile, made, first.sources(encoder.region((0, 8), tile)))
    first.flush()
    waiting.join(30)
    assert (result[0] == made).all()
    assert second.encoded == 0
    assert not any(key.endswith(".claim") for key in keys(volume))


@pytest.mark.parametrize("why", ["its process is gone", "it is too old"])
def test_a_dead_process_holds_nobody_up(volume: Volume, model: Model, why: str) -> None:
    cache, encoder = parts(volume, model)
    tile = encoder.tiling.tiles[0]
    cache.claim((0, 8), tile)
    name = next(key for key in keys(volume) if key.endswith(".claim"))
    note = json.loads(volume.output_store.get(name))
    if why == "its process is gone":
        note["pid"] = 2**22 + 5
        volume.output_store.put(name, json.dumps(note).encode())
    other, encoder = parts(volume, model)
    if why == "it is too old":
        other.claim_seconds = 0.3
    assert len(other.obtain((0, 8), tile, encoder)) == 8
    other.flush()
    assert not any(key.endswith(".claim") for key in keys(volume))


def test_a_failed_encoding_leaves_no_claim(
    volume: Volume, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, encoder = parts(volume, model)

    def broken(*_: Any) -> Any:
        raise MemoryError("no more")

    monkeypatch.setattr(encoder, "encode", broken)
    with pytest.raises(MemoryError):
        cache.embedding(0, encoder.tiling.tiles[0], encoder)
    assert keys(volume) == []


def test_the_cache_is_filled_ahead_and_filled_again_for_nothing(
    volume: Volume, model: Model
) -> None:
    told: list[tuple[int, int]] = []
    key = embed_volume(volume, model, progress=lambda s, d, t, m="": told.append((d, t)))
    cache, encoder = parts(volume, model)
    assert measure_rendering(volume) == Rendering(channels=(0,), low=(0.0,), high=(199.0,))
    assert cache.key == key
    tiles = encoder.tiling.tiles
    assert told[-1] == (11 * len(tiles), 11 * len(tiles))
    assert len(keys(volume)) == 2 * len(tiles)
    for z in (0, 7, 8, 10):
        for tile in tiles:
            found = cache.get(z, tile, encoder.region(cache.range_of(z), tile))
            assert found is not None
            assert (found == model.encode(encoder.images((z, z + 1), tile))[0]).all()
    etags = [stat.etag for stat in volume.output_store.list("volseg/embeddings")]
    embed_volume(volume, model)
    assert [stat.etag for stat in volume.output_store.list("volseg/embeddings")] == etags


def test_a_few_slices_and_an_early_stop(volume: Volume, model: Model) -> None:
    embed_volume(volume, model, (2, 3))
    assert {key.split("/")[3] for key in keys(volume)} == {"000000-000008"}
    with pytest.raises(InputError, match="5:50"):
        embed_volume(volume, model, (5, 50))
    with pytest.raises(InputError, match="time 1"):
        embed_volume(volume, model, time=1)
    count = len(keys(volume))
    embed_volume(volume, model, should_stop=lambda: True)
    assert len(keys(volume)) == count


def test_ensure_fills_what_is_missing(volume: Volume, model: Model) -> None:
    cache, encoder = parts(volume, model)
    tiles = encoder.tiling.tiles[:2]
    arguments = (tiles, model, encoder.rendering, encoder.tiling, encoder.read_block)
    assert cache.ensure((6, 9), *arguments) == 2 * 11
    assert cache.ensure((0, 11), *arguments) == 0
    assert len(keys(volume)) == 4


def test_masks_are_the_same_fresh_cached_and_in_memory(volume: Volume, model: Model) -> None:
    rendering = measure_rendering(volume)
    prompt = SlicePrompt(np.array([[40.0, 30.0]]), np.array([1]))
    answers = []
    for in_memory in (False, False, True):
        predictor = open_sam_predictor(volume, model, rendering, in_memory=in_memory)
        answers.append(predictor.predict(4, [prompt])[0])
        predictor.flush()
    for other in answers[1:]:
        assert (other.masks == answers[0].masks).all()
        assert (other.scores == answers[0].scores).all()


def test_everything_that_matters_is_in_the_key() -> None:
    rendering = Rendering(channels=(0,), low=(0.0,), high=(1.0,))
    tiling = Tiling((100, 100), 64)
    base = cache_key("s", 0, 0, rendering, "w", tiling)
    others = [
        cache_key("t", 0, 0, rendering, "w", tiling),
        cache_key("s", 1, 0, rendering, "w", tiling),
        cache_key("s", 0, 1, rendering, "w", tiling),
        cache_key("s", 0, 0, rendering.model_copy(update={"high": (2.0,)}), "w", tiling),
        cache_key("s", 0, 0, rendering.model_copy(update={"preprocess": ("log",)}), "w", tiling),
        cache_key("s", 0, 0, rendering, "v", tiling),
        cache_key("s", 0, 0, rendering, "w", Tiling((100, 100), 64, 2.0)),
        cache_key("s", 0, 0, rendering, "w", Tiling((100, 100), 64, overlap=20)),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert cache_key("s", 0, 0, rendering, "w", Tiling((100, 100), 64)) == base


def test_memory_is_bounded() -> None:
    cache = EmbeddingCache(None, "k", 100, DTYPE, memory_bytes=10_000)
    tile = Tiling((10, 10), 64).tiles[0]
    for z in range(20):
        cache.add((z, z + 1), tile, np.array([(np.full((32, 4, 4), z),)], DTYPE), None)
    assert cache.get(19, tile) is not None
    assert cache.get(0, tile) is None
    assert sum(a.nbytes for a in cache._memory.values()) <= 10_000


def test_the_containers_bytes() -> None:
    values = np.zeros(2, DTYPE)
    values["image"] = np.random.default_rng(0).standard_normal((2, 32, 4, 4))
    data = pack({"key": "k", "sources": {"a": [1, "e"]}}, values)
    header, found = unpack(data, DTYPE)
    assert header["sources"] == {"a": [1, "e"]}
    assert (found == values).all()
    for wrong in (b"", b"rubbish" * 9, data[:20], data[:-1], data[:-1] + b"\x00\x01"):
        with pytest.raises(DamagedError):
            unpack(wrong, DTYPE)


def test_neighbouring_slices_are_read_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_volume(
        tmp_path / "v.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1),
        chunks=(4, 32, 32), levels=1,
    )  # fmt: skip
    made.write(WHOLE, VOXELS)
    read: list[Any] = []
    original = made.read
    monkeypatch.setattr(made, "read", lambda r, **k: (read.append(r), original(r, **k))[1])
    reader = SlabReader(made, 0, 0, (0,))
    for z in range(11):
        block = reader(((z, z + 1), (10, 40), (0, 70)))
        assert (block == VOXELS[None, z : z + 1, 10:40]).all()
    assert [r[0] for r in read] == [(0, 4), (4, 8), (8, 11)]


def test_the_oldest_embeddings_go_first(volume: Volume, model: Model) -> None:
    cache, encoder = parts(volume, model)
    for tile in encoder.tiling.tiles[:3]:
        cache.embedding(0, tile, encoder)
        cache.flush()
    sizes = {s.key: s.size for s in volume.output_store.list("volseg/embeddings")}
    assert trim_embeddings(volume, sum(sizes.values())) == 0
    first, *others = sorted(sizes)
    assert trim_embeddings(volume, sum(sizes.values()) - 1) == sizes[first]
    assert keys(volume) == others
    assert trim_embeddings(volume, 0) == sum(sizes[key] for key in others)
    assert keys(volume) == []
