"""`volseg import --series` and `--resample-tilt` at the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from tests.cli.conftest import Said
from tests.importing.test_dicom import write_series
from volseg.images.image import open_volume


def test_a_series_is_chosen_as_the_error_lists_it(
    volseg: Callable[..., Said], tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "s", np.full((3, 4, 5), 1, np.uint16), SeriesNumber=3)
    other = {"SeriesNumber": 4, "SeriesInstanceUID": generate_uid(), "names": [7, 8, 9]}
    write_series(folder, np.full((3, 4, 5), 2, np.uint16), **other)
    said = volseg("import", folder, tmp_path / "v.zarr")
    assert said.status == 2 and "--series" in said.err and "4 (CT, 3 files" in said.err
    assert not (tmp_path / "v.zarr").exists()
    assert volseg("import", folder, tmp_path / "v.zarr", "--series", 4).status == 0
    assert open_volume(tmp_path / "v.zarr").read(((0, 3), (0, 4), (0, 5))).max() == 2


def test_a_tilt_is_straightened_as_the_error_says(
    volseg: Callable[..., Said], tmp_path: Path
) -> None:
    orientation = [1, 0, 0, 0, float(np.cos(0.3)), float(-np.sin(0.3))]
    data = np.ones((5, 6, 7), np.uint16)
    folder = write_series(tmp_path / "s", data, ImageOrientationPatient=orientation)
    said = volseg("import", folder, tmp_path / "v.zarr")
    assert (
        said.status == 2
        and "--resample-tilt" in said.err
        and len(said.err.strip().splitlines()) == 1
    )
    assert volseg("import", folder, tmp_path / "v.zarr", "--resample-tilt").status == 0
    assert open_volume(tmp_path / "v.zarr").shape[1] > 6
