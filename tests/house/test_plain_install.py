"""What `pip install volseg` gives without any extra: the command line and Python; a clear line where one is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT
from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts

HIDING = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {"prefect", "fastapi", "napari", "qtpy", "PySide6", "magicgui", "boto3", "botocore", "cryptography",
          "h5py", "mrcfile", "bioio", "highdicom", "s3fs", "gcsfs", "adlfs", "ome_zarr", "pandas"}

class Plain:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

    invalidate_caches = staticmethod(PathFinder.invalidate_caches)

sys.meta_path = [Plain if finder is PathFinder else finder for finder in sys.meta_path]
from volseg.cli.app import run
"""
PROGRAM = """
segment = ["segment", "v.zarr", "--prompts", "p.json", "--labels", "cells", "--zoom", "1"]
assert run(segment) == 0
assert run(["export", "v.zarr", "cells", "--out", "cells.tif"]) == 0
assert run(["evaluate", "v.zarr", "cells", "--truth", "v.zarr/labels/truth"]) == 0
assert run(["--help"]) == 0
assert run([*segment, "--overwrite", "--flow"]) == 2
from volseg.cli.demo import _way
print(_way()[0])
import volseg
assert volseg.open("v.zarr").labels["cells"].objects.rows()
assert not HIDDEN & set(sys.modules)
"""


def test_the_command_line_and_python_need_no_extra(tmp_path: Path) -> None:
    truth = make_truth((3, 48, 48), 2, seed=8)
    make_volume(str(tmp_path / "v.zarr"), truth)
    (tmp_path / "p.json").write_text(json.dumps(point_prompts(truth)))
    done = subprocess.run(
        [sys.executable, "-c", HIDING + PROGRAM],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'volseg[flows]'" in done.stderr
    assert "without Prefect" in done.stdout
