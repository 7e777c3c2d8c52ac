"""What the numbers in file names count, and what is refused because it can't be told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from volseg.errors import InputError
from volseg.importing.slice_names import SliceGrid, slice_grid


def grid(*names: str, axes: str | None = None, accept_gaps: bool = False) -> SliceGrid:
    return slice_grid(names, Path("folder"), axes=axes, accept_gaps=accept_gaps)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["slice 10.tif", "slice 2.tif", "slice 1.tif"], [2, 1, 0]),
        (["Z010.tif", "Z009.tif", "Z008.tif"], [2, 1, 0]),
        (["b.png", "a.png", "c.png"], [1, 0, 2]),
        (["s_2.tif", "s_4.tif", "s_6.tif"], [0, 1, 2]),
        (["a1.tif", "a2.tiff", "a3.PNG"], [0, 1, 2]),
        (["202401_im_7.tif", "202402_im_8.tif"], [0, 1]),  # a date that grows with the slices
        (["s１０.tif", "s９.tif"], [1, 0]),  # digits as a Japanese keyboard has them
        (["z1_250nm.tif", "z2_500nm.tif"], [0, 1]),
        (["mask_1.png", "mask_2.png"], [0, 1]),
        (["s1_01.tif", "s1_02.tif"], [0, 1]),
        ([f"c{n:03}.tif" for n in range(40)], list(range(40))),  # hardly forty channels
    ],
)
def test_one_number_counts_slices(names: list[str], order: list[int]) -> None:
    found = grid(*names)
    assert (found.axes, found.shape) == ("z", (len(names),))
    assert list(found.names) == [names[at] for at in order]


@pytest.mark.parametrize(
    ("pattern", "axes", "channels"),
    [
        ("img_Z{z:03}_CH{c}.tif", "cz", ("CH1", "CH2")),
        ("exp_w{c}_t{t}.tif", "tc", ("w1", "w2")),
        ("a (C={c}, Z={z}).tif", "cz", ("C1", "C2")),
        ("s_C{c:03}Z{z:03}T{t:03}.tif", "tcz", ("C1", "C2")),
        ("xy1z{z}c{c}.tif", "cz", ("c1", "c2")),
        ("Im_t{t:02}_z{z:02}_ch{c:02}.png", "tcz", ("ch1", "ch2")),
        ("i_channel{c:03}_position000_time{t:09}_z{z:03}.tif", "tcz", ("channel1", "channel2")),
        ("a_{z}_ch{c}.tif", "cz", ("ch1", "ch2")),
        ("t{t}_s{z}.tif", "tz", ()),
        ("t{t}.tif", "t", ()),
        ("40x_{z:03}_ch{c}.tif", "cz", ("ch1", "ch2")),
        ("c{c}.tif", "c", ("c1", "c2")),
    ],
)
def test_channels_and_times_are_read_from_names(
    pattern: str, axes: str, channels: tuple[str, ...]
) -> None:
    numbers = {"t": (0, 1), "c": (1, 2), "z": (8, 9, 10)}
    rows = itertools.product(*(numbers[a] for a in axes))
    names = [pattern.format(**dict(zip(axes, row, strict=True))) for row in rows]
    found = grid(*reversed(names))
    assert (found.axes, found.channels) == (axes, channels)
    assert found.shape == tuple(len(numbers[a]) for a in axes)
    assert list(found.names) == names


def test_gaps_are_refused_or_left() -> None:
    names = [f"s_{n:04}.tif" for n in (1, 2, 3, 5, 6)]
    with pytest.raises(InputError, match=r"folder: .*gaps: 4 is missing between 1 and 6.*--accept"):
        grid(*names)
    found = grid(*names, accept_gaps=True)
    assert found.names == (*names[:3], None, *names[3:])
    names = ["a_c0_z0.tif", "a_c0_z1.tif", "a_c1_z0.tif"]
    with pytest.raises(InputError, match=r"1 of 4 files are missing.* c 1, z 1; .*--accept-gaps"):
        grid(*names)
    assert grid(*names, accept_gaps=True).names == (*names, None)


def test_numbers_that_jump_are_only_an_order(caplog: pytest.LogCaptureFixture) -> None:
    assert grid(*(f"slice {n}.tif" for n in (1, 2, 10, 11, 20))).shape == (5,)
    assert "jump" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a0.tif", "a1.tif", "a1_mask.tif"], "a1_mask.tif looks like a mask"),
        (["a0.tif", "a0_labels.tif", "a1_labels.tif"], "a0_labels.tif and 1 more look like"),
        (["image.tif", "seg.tif"], "seg.tif looks like"),
        (["a_1.tif", "a_2.tif", "b_1.tif", "b_2.tif"], r"a_1.tif and 1 more / b_1.tif and 1 more"),
        (["st1_01.tif", "st1_02.tif", "st2_01.tif", "st2_02.tif"], "count in 2 places.*--axes"),
        (["e_w1DAPI_1.tif", "e_w2GFP_1.tif", "e_w1DAPI_2.tif"], "names of 2 kinds"),
        (["a1.tif", "a01.tif", "a2.tif"], "have the same numbers"),
        (["a1.tif", "a1.png", "a2.png"], "have the same numbers"),
    ],
)
def test_what_can_not_be_told_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid(*names)


def test_a_person_says_what_the_numbers_count() -> None:
    names = [f"st{s}_{n}.tif" for s in (1, 2) for n in (1, 2, 3)]
    assert (grid(*names, axes="czyx").axes, grid(*names, axes="czyx").shape) == ("cz", (2, 3))
    assert grid(*names, axes="zyx").names == tuple(names)
    assert grid("t1.tif", "t2.tif", axes="zyx").axes == "z"
    with pytest.raises(InputError, match="name 3 numbers, the names count in 2"):
        grid(*names, axes="tczyx")
    with pytest.raises(InputError, match="count channels too"):
        grid("z1c1.tif", "z1c2.tif", "z2c1.tif", "z2c2.tif", axes="zyx")


@pytest.mark.parametrize(
    "pattern",
    [
        "s1_r{a}-c{b}.tif",
        "row{a}_col{b}.tif",
        "x{a}_y{b}.tif",
        "fov{a}_ch{b}.tif",
        "pos{a}_t{b}.tif",
    ],
)
def test_tiles_and_positions_are_no_slices(pattern: str) -> None:
    names = [pattern.format(a=a, b=b) for a in range(2) for b in range(2)]
    with pytest.raises(InputError, match="count in 2 places"):
        grid(*names)
    assert grid(*names[::2]).axes in ("z", "t")  # of one number, it is an order
