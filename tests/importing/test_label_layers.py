"""Several channels and layers in one command, masks whose components become objects, and Cellpose's files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cc3d
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.errors import InputError, UnsupportedFormatError
from volseg.images.image import Volume
from volseg.importing import import_label_layers, import_labels
from volseg.importing.components import components_of
from volseg.importing.label_layer import LabelLayer

Make = Callable[..., Volume]


def test_channels_of_a_mask_are_bound_to_those_of_the_image(
    make_volume: Make, tmp_path: Path
) -> None:
    volume = make_volume((2, 3, 40, 50), "czyx")
    masks = np.zeros((3, 2, 40, 50), np.uint16)
    masks[:, 0, 2:9, 3:9], masks[1, 1, 20:30, 20:30] = 4, 900
    tifffile.imwrite(tmp_path / "m.tif", masks, imagej=True, metadata={"axes": "ZCYX"})
    made = import_label_layers(tmp_path / "m.tif", volume, ["cells", "nuclei"])
    assert [(one.name, one.channel) for one in made] == [("cells", 0), ("nuclei", 1)]
    for channel, one in enumerate(made):
        np.testing.assert_array_equal(np.asarray(one.levels[0]), masks[:, channel])
    again = import_label_layers(tmp_path / "m.tif", volume, ["m"])
    assert [one.name for one in again] == ["m-c0", "m-c1"]
    assert import_labels(tmp_path / "m.tif", volume, "one", layer="c1").channel == 1
    with pytest.raises(InputError, match=r"has 2 layer.*c0, c1.*3 names"):
        import_label_layers(tmp_path / "m.tif", volume, ["a", "b", "c"])
    with pytest.raises(InputError, match="choose one"):
        import_labels(tmp_path / "m.tif", volume, "which")


def test_channels_of_the_same_names_are_bound_by_name(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((2, 3, 40, 50), "czyx")
    names = [one.name for one in volume.channels]
    masks = np.ones((2, 3, 40, 50), np.uint8)
    facts = {"axes": "CZYX", "Channel": {"Name": names[::-1]}}
    tifffile.imwrite(tmp_path / "m.ome.tif", masks, metadata=facts)
    made = import_label_layers(tmp_path / "m.ome.tif", volume)
    assert [one.channel for one in made] == [1, 0]


def test_a_later_layer_that_is_wrong_leaves_nothing(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((2, 3, 40, 50), "czyx")
    masks = np.ones((2, 3, 40, 50), np.int32)
    masks[1, 2, 3, 4] = -1
    np.save(tmp_path / "m.npy", masks)
    with pytest.raises(InputError, match="negative"):
        import_label_layers(tmp_path / "m.npy", volume, ["a"])
    assert not list(volume.labels)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 8)),
    cut=st.tuples(st.integers(1, 9), st.integers(1, 12)),
    values=st.sampled_from([2, 3]),
)
def test_components_of_blocks_are_those_of_the_whole(
    seed: int, shape: tuple[int, int, int], cut: tuple[int, int], values: int
) -> None:
    random = np.random.default_rng(seed)
    mask = (random.integers(0, values, shape) * (random.random(shape) < 0.4)).astype(np.uint8)
    depth, height, width = shape
    regions = [
        ((z, min(z + cut[0], depth)), (y, min(y + cut[1], height)), (0, width))
        for z in range(0, depth, cut[0])
        for y in range(0, height, cut[1])
    ]

    def pieces(wanted):
        for region in wanted:
            part = mask[tuple(slice(*one) for one in region)]
            if part.any():  # as a layer leaves out where there is nothing
                yield 0, region, part

    found = np.zeros(shape, np.int64)
    for _, region, ids in components_of(LabelLayer(None, shape, 1, pieces)).pieces(regions):
        found[tuple(slice(*one) for one in region)] = ids
    whole = cc3d.connected_components(mask, connectivity=26)
    flat, first = np.unique(whole[whole > 0], return_index=True)
    order = np.zeros(int(whole.max()) + 1, np.int64)
    order[flat[np.argsort(first)]] = np.arange(1, len(flat) + 1)
    np.testing.assert_array_equal(found, order[whole])


def test_a_mask_becomes_objects_at_each_time(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((2, 3, 40, 50), "tzyx")
    mask = np.zeros((2, 3, 40, 50), bool)
    mask[0, 0, :5, :5] = mask[0, 1, 5, 5] = mask[0, 2, 30, 30] = mask[1, :, 10, :] = True
    np.save(tmp_path / "m.npy", mask)
    found = import_labels(tmp_path / "m.npy", volume, "cells", axes="tzyx", components=True)
    ids = np.asarray(found.levels[0])
    assert ids[0, 1, 5, 5] == ids[0, 0, 0, 0] == 1 and ids[0, 2, 30, 30] == 2
    assert set(np.unique(ids[1])) == {0, 1}
    np.save(tmp_path / "i.npy", np.arange(3 * 40 * 50).reshape(3, 40, 50) % 999)
    with pytest.raises(InputError, match="takes a mask"):
        import_labels(tmp_path / "i.npy", make_volume(), "cells", components=True)


class Evil:
    """What a stranger's pickle may do."""

    def __reduce__(self):
        return Path.touch, (Path(EVIL),)


EVIL = "executed"


@pytest.mark.parametrize("depth", [1, 3])
def test_masks_of_cellpose(make_volume: Make, tmp_path: Path, depth: int) -> None:
    masks = np.zeros((depth, 40, 50), np.uint16)
    masks[0, 3:9, 4:8], masks[-1, 30:, 40:] = 1, 2
    content = {
        "masks": masks[0] if depth == 1 else masks,
        "outlines": masks > 0,
        "flows": [masks.astype(np.float32), [], np.float64(3.5)],
        "filename": tmp_path / "a.tif",
        "chan_choose": [0, 0],
        "ismanual": np.zeros(2, bool),
        "manual_changes": [],
        "est_diam": 30.0,
    }
    np.save(tmp_path / "a_seg.npy", content)
    found = import_labels(tmp_path / "a_seg.npy", make_volume((depth, 40, 50)), "cells")
    np.testing.assert_array_equal(np.asarray(found.levels[0]), masks)


def test_nothing_in_a_cellpose_file_is_executed(
    make_volume: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    volume = make_volume()
    np.save("a_seg.npy", {"masks": np.zeros((3, 40, 50), np.uint8), "x": Evil()})
    pickle.loads(pickle.dumps({"x": Evil()}))
    assert (tmp_path / EVIL).exists()  # so a plain unpickler would
    (tmp_path / EVIL).unlink()
    with pytest.raises(UnsupportedFormatError, match="save the masks as TIFF"):
        import_labels("a_seg.npy", volume, "cells")
    assert not (tmp_path / EVIL).exists() and not list(volume.labels)
    np.save("b_seg.npy", {"flows": 1})
    with pytest.raises(UnsupportedFormatError, match="no masks"):
        import_labels("b_seg.npy", volume, "cells")
