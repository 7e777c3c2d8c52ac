"""napari opens what volseg reads and writes: through volseg's reader and through napari-ome-zarr, in a real window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_plugin.layers import layers_of
from napari_plugin.reader import get_reader
from volseg.images.create import create_volume
from volseg.images.image import open_volume

SHAPE = (6, 40, 48)


@pytest.fixture(params=["0.4", "0.5"])
def volume_url(request: pytest.FixtureRequest, work_url: str) -> str:
    """A two-channel volume with labels bound to channel 1."""
    url = f"{work_url}/v.zarr"
    volume = create_volume(
        url,
        axes="czyx",
        shape=(2, *SHAPE),
        dtype="uint16",
        scale_um=(0.5, 0.2, 0.2),
        ngff=request.param,
        channels=["membrane", "nuclei"],
        levels=2,
    )
    whole = tuple((0, n) for n in SHAPE)
    for channel in range(2):
        volume.write(
            whole, np.full(SHAPE, 100 * (channel + 1), np.uint16), level=0, channel=channel
        )
    labels = volume.create_labels("cells", channel=1)
    ids = np.zeros(SHAPE, np.uint32)
    ids[2:4, 10:20, 10:20] = 7
    labels.write_objects(whole, ids)
    return url


def test_layers_are_lazy_placed_and_bound_to_their_channel(volume_url: str) -> None:
    read = get_reader(volume_url)
    assert read is not None
    layers = read(volume_url)
    assert [(options["name"], kind) for _, options, kind in layers] == [
        ("membrane", "image"),
        ("nuclei", "image"),
        ("cells", "labels"),
    ]
    for data, options, _ in layers:
        assert all(isinstance(level, da.Array) for level in data)
        assert data[0].shape == SHAPE
        assert options["scale"] == pytest.approx((0.5, 0.2, 0.2))
    assert int(layers[1][0][0][2, 5, 5].compute()) == 200
    assert layers[2][1]["metadata"]["volseg"]["channel"] == 1
    assert int(layers[2][0][0][3, 15, 15].compute()) == 7


def test_what_is_not_ome_zarr_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "other.zarr").mkdir()
    assert get_reader(str(tmp_path / "other.zarr")) is None
    assert get_reader(str(tmp_path / "missing.zarr")) is None


def test_the_manifest_is_valid() -> None:
    from npe2 import PluginManifest

    from tests.conftest import PROJECT

    manifest = PluginManifest.from_file(PROJECT / "napari_plugin" / "napari.yaml")
    manifest.validate_imports()


def test_a_real_window_shows_the_labels(
    make_napari_viewer: Callable[..., Any], volume_url: str
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(800, 600)
    for data, options, kind in layers_of(open_volume(volume_url)):
        getattr(viewer, f"add_{kind}")(data, **options)
    viewer.dims.set_current_step(0, 2)
    viewer.reset_view()
    viewer.layers["membrane"].visible = viewer.layers["nuclei"].visible = False
    picture = viewer.screenshot(canvas_only=True, flash=False)
    colour = viewer.layers["cells"].get_color(7)[:3] * 255
    close = np.abs(picture[..., :3].astype(float) - colour * viewer.layers["cells"].opacity) < 40
    assert 0.005 < close.all(-1).mean() < 0.3


def test_napari_ome_zarr_reads_what_volseg_wrote(volume_url: str, tmp_path: Path) -> None:
    if volume_url.startswith("s3://"):
        pytest.skip("napari-ome-zarr takes no S3 endpoint")
    from napari_ome_zarr import napari_get_reader

    layers = napari_get_reader(volume_url)(volume_url)
    names = {
        options["name"] if isinstance(options["name"], str) else tuple(options["name"])
        for _, options, _ in layers
    }
    assert any("cells" in name for name in names)
    cells = next(data for data, _, kind in layers if kind == "labels")
    ours = np.asarray(open_volume(volume_url).labels["cells"].levels[0])
    assert np.array_equal(np.squeeze(np.asarray(cells[0])), np.squeeze(ours))
