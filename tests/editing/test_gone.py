"""A label image that goes away while it is open: told, never made anew by a write, and gone on with when it is back."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.editing.making import assert_levels, make_labels
from volseg.errors import GoneError
from volseg.images.image import open_volume
from volseg.images.labels import Labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image with empty labels."""
    make_labels(str(tmp_path))
    return tmp_path / "image.zarr"


def test_nothing_is_written_where_a_folder_was(folder: Path) -> None:
    labels = open_volume(folder).labels["cells"]
    editor = labels.edit("ann", flush_after=None)
    editor[1, 3:9, 3:9] = 7
    away = folder.with_name("moved.zarr")
    folder.rename(away)
    with pytest.raises(GoneError, match=r"labels/cells is gone: it was moved or deleted"):
        editor.flush()
    for write in (lambda: editor.new_id(), lambda: labels.objects.set(7, 0, class_="nucleus")):
        with pytest.raises(GoneError):
            write()
    with pytest.raises(GoneError):
        labels.store.get_or_none("0/c/0/0/0")  # not read as empty either
    with pytest.raises(GoneError):
        pickle.loads(pickle.dumps(labels.store)).put("volseg/x", b"")
    assert not folder.exists() and len(editor.pending) == 1
    away.rename(folder)
    editor.close()
    wanted = np.zeros(labels.shape, "uint32")
    wanted[1, 3:9, 3:9] = 7
    assert_levels(labels, wanted)


def test_another_label_image_at_the_same_place_gets_no_record(anywhere: Labels) -> None:
    editor = anywhere.edit("ann", flush_after=None)
    editor[1, 3:9, 3:9] = 7
    editor.flush()
    editor[2, 3:9, 3:9] = 7
    anywhere.store.sub("volseg/journal").delete_all("")  # as if it had been made anew
    with pytest.raises(GoneError, match="another label image lies there"):
        editor.flush()
    assert len(editor.pending) == 1
    editor.abandon()


def test_a_label_image_that_was_moved_on_a_store_gets_no_record(anywhere: Labels) -> None:
    editor = anywhere.edit("ann", flush_after=None)
    editor[1, 3:9, 3:9] = 7
    anywhere.store.delete_all("")
    with pytest.raises(GoneError, match="is gone"):
        editor.flush()
    assert not list(anywhere.store.list("volseg/journal/records"))
    editor.abandon()
