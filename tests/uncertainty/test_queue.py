"""Where to scribble next: regions that help, each offered once, whoever asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import volseg
from volseg.classify.voxels.maps import Maps, create_maps
from volseg.errors import InputError
from volseg.geometry import whole_region
from volseg.images.downsample import downsample_image
from volseg.images.labels import Labels
from volseg.uncertainty.queue import offer_next, offers
from volseg.uncertainty.regions import lattice, score

SHAPE = (2, 240, 288)  # 5 x 6 regions of 48 voxels and 2 slices
WHOLE = ((0, 2), (0, 240), (0, 288))


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Labels, Maps]:
    """Scribbles in one region; maps that are unsure in the right half, where class 2 or 3 is likely."""
    volume = volseg.create_volume(
        tmp_path / "a.zarr", axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1)
    )
    labels = volume.create_labels("scribbles", classes={1: "background", 2: "a"})
    strokes = np.zeros(SHAPE, np.uint32)
    strokes[0, 100, 150:180] = 2
    labels.write_objects(WHOLE, strokes)
    maps = create_maps(volume, "m", {1: "background", 2: "a", 3: None})
    likely = np.zeros((4, *SHAPE), np.uint8)
    likely[0, :, :, :144], likely[0, :, :, 144:] = 255, 55
    likely[1, :, :120, 144:], likely[2, :, 120:, 144:] = 200, 200
    likely[3, :, :, 144:] = 180
    for channel, data in enumerate(likely):
        maps.volume.write(WHOLE, data, channel=channel)
    for level in range(1, len(maps.volume.levels)):
        shape = maps.volume.levels[level].grid.shape
        factors = [-(-n // m) for n, m in zip(SHAPE, shape, strict=True)]
        for channel, data in enumerate(likely):
            coarse = downsample_image(data, factors)
            maps.volume.write(whole_region(shape), coarse, level=level, channel=channel)
    return labels, Maps(volume, "m")


def test_offers_are_uncertain_or_foreground_and_outside_what_is_annotated(
    asked: tuple[Labels, Maps],
) -> None:
    labels, maps = asked
    found = offer_next(labels, maps, 9)
    assert [one.why for one in found] == 3 * ["uncertain", "uncertain", "foreground"]
    assert all(one.region[2][0] >= 144 for one in found)  # the right half
    strokes = labels.read(WHOLE)
    assert not any(strokes[tuple(slice(*r) for r in one.region)].any() for one in found)
    assert {one.class_number for one in found[:2]} == {2, 3}  # stratified
    assert len({one.region for one in found}) == 9
    assert offers(labels) == found


def test_of_several_who_ask_at_once_none_is_sent_where_another_is(
    asked: tuple[Labels, Maps],
) -> None:
    labels, maps = asked
    with ThreadPoolExecutor(4) as pool:
        found = [
            one
            for part in pool.map(lambda _: offer_next(labels, maps, 8), range(4))
            for one in part
        ]
    assert len({one.region for one in found}) == len(found) == 29  # all but the annotated one
    assert offer_next(labels, maps, 3) == []


def test_the_score_grows_with_neither_image_nor_region(asked: tuple[Labels, Maps]) -> None:
    labels, maps = asked
    regions = score(maps, labels)
    assert regions.annotated.sum() == 1
    right = regions.entropy.reshape(regions.grid.counts)[:, :, 3:]
    np.testing.assert_allclose(right, 180 / 255, atol=0.01)
    assert lattice((1, 500, 500), (1, 1, 1)).chunk == (1, 48, 48)
    assert lattice((90, 500, 500), (4, 1, 1)).chunk == (12, 48, 48)


def test_other_grids_and_dense_labels_are_refused(
    asked: tuple[Labels, Maps], tmp_path: Path
) -> None:
    labels, maps = asked
    labels.write_objects(WHOLE, np.ones(SHAPE, np.uint32))
    with pytest.raises(InputError, match="labelled already"):
        offer_next(labels, maps)
    other = volseg.create_volume(
        tmp_path / "b.zarr", axes="yx", shape=(30, 30), dtype="uint8", scale_um=(1, 1, 1)
    )
    with pytest.raises(InputError, match="voxels"):
        offer_next(other.create_labels("s"), maps)
