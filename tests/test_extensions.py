"""A model, importers and an exporter of a package that volseg does not know, found by entry points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import volseg
from volseg.cli.app import run

ENTRY_POINTS = """\
[volseg.models]
bright = made_up:FAMILY
[volseg.importers]
dots = made_up:DOTS
spots = made_up:SPOTS
[volseg.exporters]
count = made_up:COUNT
"""
CODE = '''
from pathlib import Path
import hashlib, json
import numpy as np
import torch
from volseg.exporting.formats import Format
from volseg.importing.image_kinds import ImageKind
from volseg.importing.label_kinds import LabelKind
from volseg.importing.label_layer import LabelLayer
from volseg.importing.opened import OpenedImage
from volseg.models.spec import Cost, ModelSpec

WEIGHTS = Path(__file__).with_name("bright.txt")


class Bright(torch.nn.Module):
    """An object is what is brighter than the threshold and touches the prompt's pixel."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    @property
    def module(self):
        return self

    def embed(self, images):
        fine = torch.nn.functional.avg_pool2d(images[:, :1], 4)
        return {"coarse": torch.nn.functional.avg_pool2d(fine, 4), "fine": fine}

    def masks(self, embedding, prompts):
        from scipy import ndimage

        field = embedding["fine"][0, 0] - self.threshold
        parts, _ = ndimage.label(field.numpy() > 0)
        out = []
        for points in prompts.points:
            x, y = (points[0] / 4).long().tolist()
            inside = torch.from_numpy((parts == parts[y, x]) & (parts > 0))
            out.append(torch.where(inside, field, -field.abs() - 1))
        logits = torch.stack(out)[:, None]
        return logits, torch.full(logits.shape[:2], 0.9)


class Family:
    name = "made-up"

    def names(self):
        return ["bright"]

    def find(self, text):
        if text != "bright":
            return None
        digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        arrays = (("coarse", (1, 4, 4)), ("fine", (1, 16, 16)))
        cost = Cost(1, 1, 1, 0.001, 0.001)
        return ModelSpec("bright", self.name, "bright", digest, 64, arrays, None, WEIGHTS, "none", 16, cost)

    def find_planned(self, text, sha256):
        return None

    def load(self, spec, path):
        return Bright(float(path.read_text())), spec

    def card(self, spec):
        return "Bright things.\\n"


def open_dots(path, axes, options):
    rows = np.array([[255 * (c == "#") for c in line] for line in path.read_text().split()], np.uint8)
    return OpenedImage(path, "dots", rows, "yx")


def open_spots(path, volume):
    ids = np.array(json.loads(path.read_text()), np.uint32)[None]

    def pieces(regions):
        yield 0, tuple((0, n) for n in ids.shape), ids

    return [LabelLayer(None, ids.shape, 1, pieces)]


def write_count(selection, path, provenance, progress):
    ids = np.unique(np.asarray(selection.labels.levels[0]))
    path.write_text(f"{int((ids > 0).sum())} objects\\n")


FAMILY = Family()
DOTS = ImageKind("dots", (".dots",), "made_up:open_dots")
SPOTS = LabelKind("spots", (".spots",), lambda path, start: True, "made_up:open_spots")
COUNT = Format("count", "Number of objects", ".count", "made_up:write_count", (".count",))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    (folder / "made_up-1.0.dist-info").mkdir(parents=True)
    (folder / "made_up-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "made_up-1.0.dist-info" / "METADATA").write_text("Name: made-up\nVersion: 1.0\n")
    (folder / "made_up.py").write_text(CODE)
    (folder / "bright.txt").write_text("100")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(tmp_path)


def picture() -> np.ndarray:
    y, x = np.mgrid[:80, :100]
    return (np.hypot(y - 30, x - 40) < 12) | (np.hypot(y - 60, x - 80) < 10)


@pytest.mark.usefixtures("package")
def test_a_package_adds_a_model_importers_and_an_exporter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = ["".join(".#"[int(v)] for v in row) for row in picture()]
    Path("a.dots").write_text("\n".join(rows))
    assert run(["import", "a.dots", "a.zarr", "--voxel-size", "1", "1", "1"]) == 0
    assert run(["models", "list"]) == 0
    assert "bright" in capsys.readouterr().out
    assert run(["models", "show", "bright"]) == 0
    assert capsys.readouterr().out.strip() == "Bright things."
    prompts = {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": "cells"}],
        "objects": [{"id": 7, "layer": "cells", "prompts": [{"z": 0, "points": [[30, 40, 1]]}]}],
    }  # fmt: skip
    Path("p.json").write_text(json.dumps(prompts))
    command = ["segment", "a.zarr", "--prompts", "p.json", "--model", "bright", "--zoom", "1"]
    assert run([*command, "--workers", "1"]) == 0  # in a process of its own
    found = np.asarray(volseg.open("a.zarr").labels["cells"].levels[0])[0]
    truth = np.hypot(*(np.mgrid[:80, :100] - np.array([30, 40])[:, None, None])) < 12
    assert set(np.unique(found)) == {0, 7}
    assert (truth & (found == 7)).sum() > 0.8 * (truth | (found == 7)).sum()
    assert run(["export", "a.zarr", "cells", "--out", "cells.count"]) == 0
    assert Path("cells.count").read_text() == "1 objects\n"
    Path("s.spots").write_text(json.dumps((picture() * 3).tolist()))
    assert run(["import-labels", "s.spots", "a.zarr", "spots"]) == 0
    assert set(np.unique(volseg.open("a.zarr").labels["spots"].levels[0])) == {0, 3}
