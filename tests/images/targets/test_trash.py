"""What was replaced is listed with whose work it was, comes back whole, and goes only when that is said."""

from __future__ import annotations

import numpy as np
import pytest

from tests.images.targets.killing import NEW, OLD, WHOLE, write_labels, write_volume
from volseg.errors import ExistsError, InputError, NotThereError
from volseg.images.image import open_volume
from volseg.images.targets.trash import empty_trash, list_trash, restore
from volseg.storage import Store


def everything_in(url: str) -> dict[str, bytes]:
    store = Store(url)
    return {stat.key: store.get(stat.key) for stat in store.list()}


@pytest.fixture
def url(work_url: str) -> str:
    """A volume that was replaced, with a label image that somebody edited."""
    url = f"{work_url}/lab/brain.zarr"
    write_volume(url, OLD)
    with open_volume(url).create_labels("cells").edit("ann") as editor:
        editor[0, 2:5, 2:5] = 3
    return url


def test_a_volume_comes_back_with_labels_and_journal(url: str) -> None:
    before = everything_in(url)
    write_volume(url, NEW)
    (kept,) = list_trash(url)
    assert (kept.kind, str(kept.url), kept.labels[0].annotators) == (
        "volume",
        str(Store(url)),
        ("ann",),
    )
    assert kept.size == sum(map(len, before.values()))
    with pytest.raises(ExistsError, match="not overwritten"):
        restore(url)
    assert str(restore(url, to="old.zarr")).endswith("lab/old.zarr")
    assert everything_in(url.replace("brain", "old")) == before
    assert list_trash(url) == []
    assert (open_volume(url).read(WHOLE) == NEW).all()
    with open_volume(url.replace("brain", "old")).labels["cells"].edit("ann") as editor:
        assert editor.undo()


def test_the_place_is_free_again(url: str) -> None:
    before = everything_in(url)
    write_volume(url, NEW)
    Store(url).delete_all()
    restore(url.rpartition("/")[0])
    assert everything_in(url) == before


def test_a_label_image_comes_back(url: str) -> None:
    volume = open_volume(url)
    before = everything_in(f"{url}/labels/cells")
    write_labels(url, 5)
    write_labels(url, 6)
    first, second = list_trash(url)
    assert [one.labels[0].edits for one in (first, second)] == [1, 0]
    assert str(first.url).endswith("brain.zarr/labels/cells")
    with pytest.raises(InputError, match="several"):
        restore(url)
    restore(url, first.id, to="cells-of-ann")
    assert everything_in(f"{url}/labels/cells-of-ann") == before
    assert set(volume.labels) == {"cells", "cells-of-ann"}
    assert (np.asarray(volume.labels["cells"].levels[0]) == 6).all()


def test_emptied(url: str) -> None:
    write_volume(url, NEW)
    write_volume(url, OLD)
    first, second = list_trash(url)
    with pytest.raises(NotThereError, match=f"has no x; it has: {first.id}, {second.id}"):
        empty_trash(url, "x")
    assert [one.id for one in empty_trash(url, first.id)] == [first.id]
    assert [one.id for one in list_trash(url)] == [second.id]
    empty_trash(url)
    assert Store(url.rpartition("/")[0]).list_names() == ["brain.zarr"]


def test_neighbours_have_trash_of_their_own(url: str) -> None:
    other = url.replace("brain", "heart")
    write_volume(other, OLD)
    write_volume(url, NEW)
    write_volume(other, NEW)
    assert len(list_trash(url)) == len(list_trash(other)) == 1
    assert len(list_trash(url.rpartition("/")[0])) == 2
    empty_trash(other)
    assert len(list_trash(url)) == 1


def test_the_trash_is_no_part_of_a_volume(url: str) -> None:
    import zarr

    write_labels(url, 5)
    group = zarr.open_group(Store(url).zarr(), mode="r")
    assert set(group["labels"].group_keys()) == {"cells"}
    assert list(open_volume(url).labels) == ["cells"]
