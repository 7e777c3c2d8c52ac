"""The sample volume of File → Open Sample: made on this machine, offline, with prompts ready to be propagated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_plugin.gui import in_gui
from volseg import __version__
from volseg.geometry import whole_region

URI = "volseg://samples/touching-cells.zarr"
"""What the manifest asks the reader for: a sample that is a command would have to give napari a layer at once."""
LayerData = tuple[Any, dict[str, Any], str]
NAME, LABELS = "touching-cells", "cells"
SHAPE = (24, 192, 192)
PROMPTED = 4  # objects with prompts, of about a dozen


def touching_cells() -> list[LayerData]:
    """Return the sample's layers: an image of touching cells, an empty label image ``cells``, and the true labels.

    Returns
    -------
    list
        The true labels are (z, y, x) uint32.
    """
    from napari_plugin.layers import layers_of
    from volseg.images.image import open_volume

    url = sample_url()
    return [_truth_layer(url), *layers_of(open_volume(url))]


def show_sample(viewer: Any) -> None:
    """Make the sample on another thread, as it takes seconds, and open it with its true labels; on the GUI thread."""
    from napari_plugin.opening import Place
    from napari_plugin.widgets import desk_with_notices

    desk = desk_with_notices(viewer)

    def work() -> None:
        url = sample_url()
        truth, options, _ = _truth_layer(url)
        in_gui(lambda: viewer.add_labels(truth, **options))
        desk.open(Place(url))

    desk.aside(work, "making the sample volume")


def _truth_layer(url: str) -> LayerData:
    from volseg.demo.synthetic import VOXEL_SIZE_UM

    truth = np.load(_truth_of(url))["truth"]
    placed = {"scale": VOXEL_SIZE_UM, "units": ("micrometer",) * 3}
    return truth, {"name": "truth", "visible": False, **placed}, "labels"


def _truth_of(url: str) -> Path:
    return Path(url).with_suffix(".npz")


def sample_url(folder: Path | None = None) -> str:
    """The path of the sample volume; made where it is missing.

    Parameters
    ----------
    folder
        Where samples are kept; None: the user's data folder.
    """
    if folder is None:
        from platformdirs import user_data_dir

        folder = Path(user_data_dir("volseg")) / "samples"
    path = folder / f"{NAME}-{__version__}.zarr"
    if not path.exists():
        partial = folder / ".making" / f"{NAME}.zarr"
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        truth = make_sample(str(partial))
        np.savez_compressed(_truth_of(str(path)), truth=truth)
        partial.rename(path)
    return str(path)


def make_sample(url: str) -> NDArray[np.uint32]:
    """Write the sample: synthetic cells on two levels, and prompts for some of them in empty ``cells``.

    Returns
    -------
    (z, y, x) uint32
        The true labels.
    """
    from napari_plugin.promptstore import save_object
    from volseg.demo.synthetic import make_volume
    from volseg.images.create import create_volume
    from volseg.images.image import open_volume
    from volseg.images.pyramid import build_image_pyramid
    from volseg.prompts import prompts_from_labels

    made = make_volume(SHAPE, clusters=7, seed=3)
    create_volume(
        url,
        axes="zyx",
        shape=SHAPE,
        dtype=made.image.dtype,
        scale_um=made.voxel_size_um,
        levels=2,
    )
    volume = open_volume(url, writable=True)
    volume.write(whole_region(SHAPE), made.image, level=0)
    build_image_pyramid(volume)
    cells = volume.create_labels(LABELS, channel=0)
    for one in prompts_from_labels(made.truth, kind="box", layer=LABELS).objects[:PROMPTED]:
        save_object(cells, one)
    return made.truth
