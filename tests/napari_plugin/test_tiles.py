"""Tiles in memory: showing never waits, coarse levels come first, the next slices ahead, and a loop is fetched once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from napari_plugin.levels import LevelView, showing
from napari_plugin.tilegrid import Key, TileLevel
from napari_plugin.tiles import Tiles

LEVELS = [
    TileLevel((16, 64, 64), (4, 32, 32)),
    TileLevel((16, 32, 32), (4, 32, 32), (1.0, 2.0, 2.0)),
]


class Source:
    """Loads tiles slowly, or not at all, and remembers which."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.loaded: list[Key] = []
        self.broken = False

    def __call__(self, key: Key) -> np.ndarray:
        self.loaded.append(key)
        assert self.gate.wait(20)
        if self.broken:
            raise OSError("away")
        region = LEVELS[key.level].region(key[3:])
        axes = [np.arange(a, b) for a, b in region]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        span = 2 if key.level else 1
        return ((z * 64 + y * span) * 64 + x * span)[None].astype(np.uint32)


@pytest.fixture
def source() -> Source:
    """A source."""
    return Source()


@pytest.fixture
def tiles(source: Source) -> Iterator[Tiles]:
    """Tiles of it."""
    tiles = Tiles(LEVELS, np.dtype(np.uint32), source, threads=1)
    yield tiles
    tiles.close()


def plane(z: int, level: int = 0) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """A slice."""
    _, y, x = LEVELS[level].shape
    return ((z, z + 1), (0, y), (0, x))


def truth(z: int) -> np.ndarray:
    """What a slice holds."""
    y, x = np.mgrid[:64, :64]
    return (z * 64 + y) * 64 + x


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def test_showing_never_waits_and_coarse_levels_come_first(tiles: Tiles, source: Source) -> None:
    source.gate.clear()
    tiles.show(1, 0, 0, plane(3, 1))
    wait_for(lambda: len(source.loaded) == 1)  # the only thread hangs in the store
    assert not tiles.show(0, 0, 0, plane(3)).any()
    source.gate.set()
    wait_for(lambda: tiles.idle)
    assert source.loaded[0].level == 1
    assert np.array_equal(tiles.show(0, 0, 0, plane(3))[0], truth(3))


def test_what_is_missing_is_shown_from_a_coarser_level(tiles: Tiles, source: Source) -> None:
    tiles.show(1, 0, 0, plane(3, 1))
    wait_for(lambda: tiles.idle)
    source.gate.clear()
    shown = tiles.show(0, 0, 0, plane(3))[0]
    source.gate.set()
    assert np.array_equal(shown, np.repeat(np.repeat(truth(3)[::2, ::2], 2, 0), 2, 1))


def test_the_next_slices_are_fetched_in_the_direction_of_scrolling(
    tiles: Tiles, source: Source
) -> None:
    tiles.show(0, 0, 0, plane(9))
    wait_for(lambda: tiles.idle)
    assert {key.z for key in source.loaded} == {2, 3, 0}  # on, and around the end
    tiles.show(0, 0, 0, plane(8))
    wait_for(lambda: tiles.idle)
    assert {key.z for key in source.loaded} == {0, 1, 2, 3}  # back
    before = len(source.loaded)
    for z in (7, 6, 5, 4):
        tiles.show(0, 0, 0, plane(z))
    assert tiles.idle and len(source.loaded) == before


def test_what_comes_next_leaves_most_threads_to_what_is_in_view(source: Source) -> None:
    tiles = Tiles(LEVELS, np.dtype(np.uint32), source, threads=8)
    try:
        source.gate.clear()
        tiles.show(0, 0, 0, plane(3))  # four tiles, and eight that come next
        wait_for(lambda: len(source.loaded) == 6)
        time.sleep(0.1)
        assert sorted(key.z for key in source.loaded) == [0, 0, 0, 0, 1, 1]
        tiles.show(0, 0, 0, plane(12))  # a jump: its tiles wait for nothing
        wait_for(lambda: sum(key.z == 3 for key in source.loaded) >= 2)
        source.gate.set()
        wait_for(lambda: tiles.idle and tiles.holds(0, 0, 0, plane(12)))
    finally:
        source.gate.set()
        tiles.close()


def test_a_loop_is_fetched_once(tiles: Tiles, source: Source) -> None:
    for _ in range(3):
        for z in range(16):
            tiles.show(0, 0, 0, plane(z))
            wait_for(lambda: tiles.idle)
    assert len(source.loaded) == len(set(source.loaded)) == 16


def test_memory_is_bounded_but_the_screen_is_kept(source: Source) -> None:
    tiles = Tiles(LEVELS, np.dtype(np.uint32), source, max_bytes=3 * 4 * 32 * 32 * 4)
    for z in range(16):
        tiles.show(0, 0, 0, plane(z))
        wait_for(lambda: tiles.idle)
        assert np.array_equal(tiles.show(0, 0, 0, plane(z))[0], truth(z))
        wait_for(lambda: tiles.idle)
        assert tiles.nbytes <= 8 * 4 * 32 * 32 * 4
    tiles.close()


def test_a_store_that_is_away_is_told_once_per_try_and_asked_again(
    tiles: Tiles, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_plugin.tiles._RETRY_S", 0.2)
    errors: list[Exception] = []
    tiles.on_failed = errors.append
    source.broken = True
    tiles.show(1, 0, 0, plane(3, 1))
    wait_for(lambda: bool(errors))
    source.broken = False
    time.sleep(0.25)
    tiles.show(1, 0, 0, plane(3, 1))
    wait_for(lambda: tiles.holds(1, 0, 0, plane(3, 1)))


def test_a_tile_that_changes_while_it_is_read_is_read_again(tiles: Tiles, source: Source) -> None:
    source.gate.clear()
    tiles.show(1, 0, 0, plane(3, 1))
    wait_for(lambda: len(source.loaded) == 1)
    tiles.renew([(1, 0, plane(3, 1))])
    source.gate.set()
    wait_for(lambda: tiles.idle)
    first = source.loaded[0]
    assert source.loaded.count(first) == 2


def test_views_wait_for_the_truth_unless_they_are_for_the_screen(
    tiles: Tiles, source: Source
) -> None:
    view = LevelView(tiles, 0, "zyx", LEVELS[0].shape)
    assert view.chunks == (4, 32, 32) and view[3].chunks == (32, 32)
    source.gate.clear()
    with showing():
        assert not np.asarray(view[3, 10:20]).any()
    source.gate.set()
    assert np.array_equal(np.asarray(view[3, 10:20]), truth(3)[10:20])
    assert int(np.asarray(view[3, 10, -1])) == truth(3)[10, -1]
    with pytest.raises(IndexError):
        view[0, 0, 0, 0]
