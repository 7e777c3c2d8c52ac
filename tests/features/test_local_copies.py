"""Copies of embeddings on a worker's own disk: fewer reads of the store, never another answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.features.test_cache import SHAPE, VOXELS, WHOLE, parts
from tests.models.tiny import tiny_model
from volseg.errors import InputError
from volseg.features.local_copies import BYTES, FOLDER, LocalCopies
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.models.model import Model
from volseg.storage.objects import Store


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture
def far(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """A volume on S3, in a process that is told to keep copies."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "copies"))
    options: dict[str, Any] = {"scale_um": (1, 1, 1), "chunks": (4, 32, 32), "levels": 1}
    url = f"{s3_url}/v.zarr"
    create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", **options).write(WHOLE, VOXELS)
    return open_volume(url, writable=True)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which embeddings are read from the store."""
    names: list[str] = []
    get = Store.get_or_none

    def noted(store: Store, key: str) -> bytes | None:
        if "volseg/embeddings" in str(store.location):
            names.append(key)
        return get(store, key)

    monkeypatch.setattr(Store, "get_or_none", noted)
    return names


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "copies").iterdir())


def test_the_store_is_read_once_by_a_machine(
    far: Volume, model: Model, tmp_path: Path, read: list[str]
) -> None:
    cache, encoder = parts(far, model)
    tile = encoder.tiling.tiles[0]
    made = cache.embedding(5, tile, encoder)
    cache.close()
    assert [path.name for path in files(tmp_path)] == [f"{cache.key}-000000-000008-00000"]
    read.clear()
    again, encoder = parts(far, model)  # another process of this machine
    assert (again.embedding(5, tile, encoder) == made).all()
    assert (again.encoded, read) == (0, [])
    files(tmp_path)[0].unlink()  # another machine
    third, encoder = parts(far, model)
    assert (third.embedding(5, tile, encoder) == made).all()
    assert len(read) == len(files(tmp_path)) == 1


def test_a_damaged_copy_is_read_again(
    far: Volume, model: Model, tmp_path: Path, read: list[str]
) -> None:
    cache, encoder = parts(far, model)
    tile = encoder.tiling.tiles[0]
    made = cache.embedding(5, tile, encoder)
    cache.close()
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    read.clear()
    again, encoder = parts(far, model)
    assert (again.embedding(5, tile, encoder) == made).all()
    assert (again.encoded, len(read)) == (0, 1)
    assert path.read_bytes() == whole


def test_a_copy_of_an_older_source_is_dropped(far: Volume, model: Model, tmp_path: Path) -> None:
    cache, encoder = parts(far, model)
    tile = encoder.tiling.tiles[0]
    cache.embedding(5, tile, encoder)
    cache.close()
    (path,) = files(tmp_path)
    older = path.read_bytes()
    far.write(WHOLE, VOXELS[::-1].copy())
    again, encoder = parts(open_volume(far.location, writable=True), model)
    fresh = again.embedding(5, tile, encoder)
    again.close()
    assert again.encoded > 0
    assert (model.encode(encoder.images((5, 6), tile))[0] == fresh).all()
    assert path.read_bytes() != older


def test_a_disk_that_fails_only_costs_time(
    far: Volume, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    cache, encoder = parts(far, model)
    made = cache.embedding(5, encoder.tiling.tiles[0], encoder)
    cache.close()
    again, encoder = parts(far, model)
    assert (again.embedding(5, encoder.tiling.tiles[0], encoder) == made).all()


def test_the_longest_unused_make_room(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 10_000)
    for number in range(8):
        copies.put("k", f"{number}", bytes([number]) * 1000)
        os.utime(tmp_path / f"k-{number}", (number, number))
    assert copies.get("k", "0") == bytes(1000)  # used just now
    for number in range(8, 40):
        copies.put("k", f"{number}", bytes([number]) * 1000)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
        if number == 12:
            assert copies.get("k", "0") is not None
            assert copies.get("k", "1") is None
    assert copies.get("k", "39") == bytes([39]) * 1000
    copies.put("k", "large", bytes(10_001))
    assert copies.get("k", "large") is None
    assert not list(tmp_path.glob("*.part"))


def test_what_the_environment_asks_for(tmp_path: Path) -> None:
    assert LocalCopies.from_environment({}) is None
    assert LocalCopies.from_environment({FOLDER: str(tmp_path), BYTES: "5"}) is not None
    with pytest.raises(InputError, match=f"{BYTES}='many': expected a number of bytes"):
        LocalCopies.from_environment({FOLDER: str(tmp_path), BYTES: "many"})


def test_a_folder_on_this_machine_is_not_copied(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "copies"))
    options: dict[str, Any] = {"scale_um": (1, 1, 1), "chunks": (4, 32, 32), "levels": 1}
    volume = create_volume(tmp_path / "v.zarr", axes="zyx", shape=SHAPE, dtype="uint8", **options)
    volume.write(WHOLE, VOXELS)
    cache, encoder = parts(volume, model)
    cache.embedding(5, encoder.tiling.tiles[0], encoder)
    cache.close()
    assert not (tmp_path / "copies").exists()
