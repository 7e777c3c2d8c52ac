"""LIF and ND2 through bioio's readers: pixels, voxel sizes, channels, several images, and planes read one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.importing.makers import write_lif, write_nd2
from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing import import_volume, open_image
from volseg.importing.opened import SourceOptions

SIZE = (2.0, 0.5, 0.25)
DATA = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 11)).astype(np.uint8)


def test_a_lif_becomes_a_volume(tmp_path: Path) -> None:
    path = write_lif(tmp_path / "a.lif", {"only": DATA}, SIZE)
    volume = import_volume(path, tmp_path / "v.zarr")
    assert volume.scale == SIZE and volume.axes[-4:] == ("c", "z", "y", "x")
    region = tuple((0, n) for n in volume.shape)
    for channel in range(2):
        np.testing.assert_array_equal(volume.read(region, channel=channel), DATA[channel])


def test_images_of_a_lif_are_named_and_chosen(tmp_path: Path) -> None:
    path = write_lif(tmp_path / "a.lif", {"first": DATA, "second one": DATA[:1, 1:]}, SIZE)
    with pytest.raises(InputError, match=r"2 images \(0: first, 1: second one\).*--series"):
        open_image(path)
    for wanted in ("1", "second one"):
        with open_image(path, options=SourceOptions(series=wanted)) as image:
            assert image.shape_zyx == (2, 8, 11) and image.facts == {"scene": "second one"}
            assert image.array.chunks[-3:] == ((1, 1), (8,), (11,))  # planes: never a whole volume
            np.testing.assert_array_equal(
                image.read(((1, 2), (2, 5), (3, 9))), DATA[:1, 2, 2:5, 3:9]
            )
    with pytest.raises(InputError, match="no image '7'"):
        open_image(path, options=SourceOptions(series="7"))


def test_an_nd2(tmp_path: Path) -> None:
    data = DATA[0].astype(np.uint16) * 200
    path = write_nd2(tmp_path / "a.nd2", data, (2.0, 0.25, 0.25))
    with open_image(path) as image:
        assert image.scale_um == (2.0, 0.25, 0.25) and image.channel_names == ("DAPI",)
        np.testing.assert_array_equal(image.read(((0, 3), (0, 8), (0, 11))), data)
        np.testing.assert_array_equal(image.read(((1, 2), (3, 7), (0, 5))), data[1:2, 3:7, :5])


@pytest.mark.parametrize("name", ["a.lif", "a.nd2"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    write = write_lif if name == "a.lif" else write_nd2
    whole = write(tmp_path / name, {"a": DATA} if name == "a.lif" else DATA[0].astype("u2"), SIZE)  # type: ignore[operator]
    for content in (whole.read_bytes()[: whole.stat().st_size // 2], b"hello" * 99, b""):
        whole.write_bytes(content)
        with pytest.raises(UnsupportedFormatError), open_image(whole) as image:
            image.read(tuple((0, n) for n in image.shape_zyx))
