"""Exports from the plugin: every format of the command line, unsaved edits included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.exporting import (
    Exporting,
    ExportRequest,
    formats,
    parse_ids,
    suggested_path,
)
from napari_plugin.session import Session
from tests.napari_plugin.places import make_volume
from volseg.errors import ExistsError, InputError
from volseg.exporting import formats as all_formats
from volseg.images.image import open_volume


def test_every_format_of_the_command_line_is_offered() -> None:
    assert [name for name, _ in formats()] == [one.name for one in all_formats()]
    assert all(title for _, title in formats())
    assert suggested_path("/out", "cells", "coco") == "/out/cells.coco.json"
    assert suggested_path("/out", "cells", "png") == "/out/cells-png"
    assert parse_ids("3, 7 9") == [3, 7, 9] and parse_ids(" ") == []
    with pytest.raises(InputError):
        parse_ids("3, x")


def test_every_format_is_written_with_what_was_just_painted(tmp_path: Path) -> None:
    url = str(tmp_path / "v.zarr")
    make_volume(url).create_labels("cells")
    session = Session(open_volume(url), "annotator-1", flush_after=None)
    editing = session.editing("cells")
    for z in range(2, 6):
        editing.apply_mask(z, np.ones((12, 14), bool), (20, 30), 7).result(20)
    exporting = Exporting()
    stages: list[str] = []
    exporting.progress.connect(lambda stage, done, total: stages.append(stage))
    for name, _ in formats():
        out = suggested_path(tmp_path / "out", "cells", name)
        result = exporting.start(editing, ExportRequest(out, name)).result(60)
        assert result.paths and all(Path(str(path)).exists() for path in result.paths), name
        manifest = json.loads(Path(str(result.manifest)).read_text("utf-8"))
        assert manifest["provenance"]["operator"] == "annotator-1"
    assert stages
    import tifffile

    stack = tifffile.imread(tmp_path / "out" / "cells.tif")
    assert (stack == 7).sum() == 4 * 12 * 14
    errors: list[BaseException] = []
    exporting.failed.connect(lambda error, doing: errors.append(error))
    again = ExportRequest(str(tmp_path / "out" / "cells.tif"), "tiff")
    with pytest.raises(ExistsError):
        exporting.start(editing, again).result(60)
    assert isinstance(errors[0], ExistsError)
    session.close()
