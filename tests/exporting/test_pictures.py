"""PNG pictures show something, have the proportions of the specimen, and a scale bar that is as long as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.exporting.conftest import make_odd
from volseg.errors import InputError, UnsupportedFormatError
from volseg.exporting import export
from volseg.exporting.scale_bar import round_length, with_scale_bar, words
from volseg.images.labels import Labels, open_labels


def test_the_default_can_be_seen_whatever_the_ids(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "all", "png")  # with an id beyond 65535
    export(odd, tmp_path / "few", "png", objects=[1, 2, 3, 4])
    for folder in ("all", "few"):
        with Image.open(tmp_path / folder / "z00001.png") as picture:
            seen = np.asarray(picture.convert("RGB")).astype(int)
        ids = make_odd()[1]
        colours = [set(map(tuple, seen[ids == one])) for one in (1, 2, 4)]
        assert all(len(one) == 1 and max(next(iter(one))) > 150 for one in colours)
        assert len(set.union(*colours)) == 3 and seen[ids == 0].max() == 0


def test_ids_are_an_option(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "p", "png", style="ids", objects=[1, 2])
    found = np.asarray(Image.open(tmp_path / "p" / "z00001.png"))
    np.testing.assert_array_equal(found, make_odd()[1] * np.isin(make_odd()[1], [1, 2]))
    with pytest.raises(UnsupportedFormatError, match=r"70000 .* 65535"):
        export(odd, tmp_path / "q", "png", style="ids")
    with pytest.raises(InputError, match="scale bar"):
        export(odd, tmp_path / "q", "png", style="ids", scale_bar=True)


@pytest.mark.parametrize("style", ["palette", "overlay", "ids"])
def test_views_have_the_proportions_of_the_specimen(
    odd: Labels, tmp_path: Path, style: str
) -> None:
    """4 × 40 × 50 voxels of 0.5 × 0.2 × 0.1 µm are 2 × 8 × 5 µm."""
    options = {"style": style, "objects": [1, 2, 3, 4]}
    export(odd, tmp_path / "o", "png", view="orthogonal", **options)
    sizes = {path.name[0]: Image.open(path).size for path in (tmp_path / "o").glob("*.png")}
    assert sizes == {"z": (50, 80), "y": (50, 20), "x": (40, 10)}
    export(odd, tmp_path / "p", "png", view="projection", **options)
    assert Image.open(tmp_path / "p" / "projection_z.png").size == (50, 80)


def test_one_picture_is_one_file(odd: Labels, tmp_path: Path) -> None:
    for name, options in (("a.png", {"view": "projection"}), ("b.png", {"z": (1, 2)})):
        assert export(odd, tmp_path / name, **options).paths == (tmp_path / name,)
        Image.open(tmp_path / name).verify()
    assert len(export(odd, tmp_path / "c.png").paths) == 4 and (tmp_path / "c.png").is_dir()


@pytest.mark.parametrize("pixel_um", [0.004, 0.1, 1.0, 37.5])
def test_the_bar_is_as_long_as_it_says(pixel_um: float) -> None:
    pixels = with_scale_bar(np.full((300, 400, 3), 90, np.uint8), pixel_um)
    rows, _ = np.nonzero((pixels == 255).all(-1))
    bottom = rows.max()
    length = (rows == bottom).sum() * pixel_um
    assert length == pytest.approx(round_length(400 * pixel_um / 4), abs=pixel_um)
    assert 0.1 * 400 * pixel_um <= length <= 0.25 * 400 * pixel_um + pixel_um
    bright = (pixels > 150).all(-1) | (pixels < 40).all(-1)
    assert bright[: bottom - 8].sum() > 40  # the length in words, above


def test_lengths_in_words() -> None:
    assert [words(n) for n in (0.002, 0.5, 1, 20, 1000, 20_000)] == [
        "2 nm", "500 nm", "1 µm", "20 µm", "1 mm", "2 cm",
    ]  # fmt: skip


def test_bars_by_default(labels: Labels, odd: Labels, tmp_path: Path) -> None:
    cases = {"slices": False, "contact": True, "projection": True}
    for view, drawn in cases.items():
        export(open_labels(odd.volume(), "holes"), tmp_path / view, "png", view=view)
        path = next((tmp_path / view).glob("*.png"))
        white = (np.asarray(Image.open(path).convert("RGB")) == 255).all(-1)
        assert white.any() == drawn, view
    export(labels, tmp_path / "o", "png", view="projection", scale_bar=False, objects=[3, 7])
    assert Image.open(tmp_path / "o" / "projection_z.png").mode == "P"
