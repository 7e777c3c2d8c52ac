"""The whole way as a newcomer goes it: the demonstration, real nuclei on both back ends, files of others."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import volseg
from tests.conftest import PROJECT
from volseg.images.create import create_volume
from volseg.storage import Store


def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `volseg ARGUMENTS…` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "volseg", *(str(argument) for argument in arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == status, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def object_digests(url: str, below: str) -> dict[str, str]:
    """Digest of every stored object below a key, by key."""
    store = Store(url)
    return {
        stat.key: hashlib.sha256(store.get(stat.key)).hexdigest()
        for stat in store.list(below)
        if "/volseg/" not in stat.key
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The demonstration, once: what its last line says."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = run("demo", "--out", out, "--json")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    said["out"] = str(out)
    return said


class TestDemonstration:
    def test_it_segments_well_and_far_better_than_a_threshold(self, demo: dict) -> None:
        assert demo["objects"] >= 30
        assert demo["mean_dice"] >= 0.80
        assert demo["mean_dice"] >= demo["baseline_dice"] + 0.25

    def test_its_scores_are_those_of_what_was_written(self, demo: dict) -> None:
        truth = tifffile.imread(demo["paths"]["truth"])
        labels = np.asarray(volseg.open(demo["paths"]["volume"]).labels["cells"].levels[0])
        dice = [
            2 * ((truth == i) & (labels == i)).sum() / ((truth == i).sum() + (labels == i).sum())
            for i in range(1, int(truth.max()) + 1)
        ]
        assert demo["mean_dice"] == pytest.approx(np.mean(dice), abs=1e-3)

    def test_its_report_shows_one_object_before_and_after_a_click(self, demo: dict) -> None:
        page = Path(demo["paths"]["report"]).read_text("utf-8")
        found = re.search(r'id="data">(.*?)</script>', page, re.S)
        assert found
        correction = json.loads(found.group(1))["correction"]
        told = re.search(r"from ([0-9.]+) to ([0-9.]+); (\d+) of", correction["text"])
        assert told
        before, after, slices = (float(part) for part in told.groups())
        assert after > before
        assert slices >= 1
        assert correction["before"] != correction["after"]

    def test_every_file_is_there_and_says_the_same(self, demo: dict) -> None:
        for path in demo["paths"].values():
            assert Path(path).exists()
        labels = np.asarray(volseg.open(demo["paths"]["volume"]).labels["cells"].levels[0])
        assert np.array_equal(tifffile.imread(demo["paths"]["tiff"]), labels)
        with open(demo["paths"]["csv"], newline="") as file:
            voxels = {int(row["id"]): int(row["voxels"]) for row in csv.DictReader(file)}
        assert voxels == {int(i): int((labels == i).sum()) for i in np.unique(labels) if i}
        pictures = sorted(Path(demo["paths"]["png"]).rglob("*.png"))
        assert len(pictures) == labels.shape[0]
        assert Image.open(pictures[0]).size == labels.shape[:0:-1]

    def test_its_json_gives_the_same_labels_back(self, demo: dict) -> None:
        run("import-labels", demo["paths"]["json"], demo["paths"]["volume"], "again")
        volume = volseg.open(demo["paths"]["volume"])
        first, again = (np.asarray(volume.labels[name].levels[0]) for name in ("cells", "again"))
        assert np.array_equal(first, again)

    def test_the_object_table_holds_every_object(self, demo: dict) -> None:
        labels = volseg.open(demo["paths"]["volume"]).labels["cells"]
        ids = {int(i) for i in np.unique(np.asarray(labels.levels[0])) if i}
        rows = labels.objects.rows()
        assert {row.id for row in rows} == ids
        assert all(row.confidence is not None and 0 < row.confidence <= 1 for row in rows)

    def test_runs_and_info_tell_of_it(self, demo: dict) -> None:
        facts = json.loads(run("info", demo["paths"]["volume"], "--json").stdout)
        assert "cells" in [labels["name"] for labels in facts["labels"]]
        assert facts["embeddings"]
        runs = json.loads(run("runs", "list", demo["paths"]["volume"], "--json").stdout)
        assert [one["status"] for one in runs if one["labels"] == "cells"] == ["done"]
        run("runs", "verify", demo["paths"]["volume"])
        assert "cells" in run("runs", "show", demo["paths"]["volume"]).stdout

    def test_other_readers_open_it(self, demo: dict) -> None:
        command = [Path(sys.executable).parent / "ome_zarr", "info", demo["paths"]["volume"]]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "labels" in said.stdout + said.stderr

    def test_a_finished_run_resumes_to_itself(self, demo: dict) -> None:
        before = object_digests(demo["paths"]["volume"], "labels/cells")
        prompts = demo["paths"]["prompts"]
        arguments = ["segment", demo["paths"]["volume"], "--prompts", prompts]
        run(*arguments, "--labels", "cells", "--zoom", "auto", "--resume")
        assert object_digests(demo["paths"]["volume"], "labels/cells") == before

    def test_it_never_empties_a_folder_that_is_not_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        done = run("demo", "--out", tmp_path, "--overwrite", status=2)
        assert "not written by volseg" in done.stderr
        assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_output_validates(tmp_path: Path, ngff: str) -> None:
    from ome_zarr_models import open_ome_zarr

    url = str(tmp_path / "v.zarr")
    volume = create_volume(
        url, axes="zyx", shape=(4, 64, 64), dtype="uint8", scale_um=(1, 1, 1), ngff=ngff
    )
    image = np.zeros((4, 64, 64), np.uint8)
    image[:, 20:40, 20:40] = 200
    volume.write(((0, 4), (0, 64), (0, 64)), image)
    document = {
        "format": "volseg-prompts",
        "version": 1,
        "layers": [{"name": "cells", "category": "cell"}],
        "objects": [{"id": 5, "layer": "cells", "prompts": [{"z": 1, "points": [[30, 30, 1]]}]}],
    }
    result = volseg.segment(volume, document, workers=1)
    assert result.labels.name == "cells"
    import zarr

    for place in ("", "/labels", "/labels/cells"):
        open_ome_zarr(zarr.open_group(url + place, mode="r"))


class TestRealNuclei:
    """Confocal nuclei that never trained: one point each, on a folder and on S3.

    How well it goes is measured on the whole stack, where the README's page is run.
    """

    @pytest.fixture(scope="class")
    def nuclei(self, shared_data: Path) -> Path:
        return shared_data / "nuclei_ovule_1136"

    def go(self, nuclei: Path, url: str, prompts: Path) -> dict[str, str]:
        run("import", nuclei / "raw.tif", url, "--voxel-size", 0.2, 0.1, 0.1)
        run("segment", url, "--prompts", prompts, "--labels", "nuclei", "--zoom", 1, "--workers", 1)
        return object_digests(url, "labels/nuclei")

    def test_the_same_bytes_on_both(self, nuclei: Path, tmp_path: Path, s3_url: str) -> None:
        prompts, truth = tmp_path / "prompts.json", tmp_path / "labels.tif"
        for name in ("raw", "labels"):
            stack = tifffile.imread(nuclei / f"{name}.tif")[46:58]
            tifffile.imwrite(tmp_path / f"{name}.tif", stack)
        run("prompts", "from-labels", truth, "--out", prompts)
        url = str(tmp_path / "v.zarr")
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self.go, tmp_path, at, prompts) for at in (url, f"{s3_url}/v.zarr")]
        assert both[0].result() == both[1].result()
        assert len(both[0].result()) > 3
        assert np.asarray(volseg.open(url).labels["nuclei"].levels[0]).any()


class TestFilesOfOthers:
    def test_a_time_series_with_labels_of_its_own(self, shared_data: Path, tmp_path: Path) -> None:
        source = next((shared_data / "omezarr_5d").glob("*.zarr"))
        url = tmp_path / "copy.zarr"
        shutil.copytree(source, url)
        subprocess.run(["chmod", "-R", "u+w", str(url)], check=True)
        facts = json.loads(run("info", url, "--json").stdout)
        assert (facts["ngff"], facts["times"], len(facts["channels"])) == ("0.4", 3, 1)
        theirs = [labels["name"] for labels in facts["labels"]]
        before = object_digests(str(url), f"labels/{theirs[0]}")
        prompts = tmp_path / "prompts.json"
        prompts.write_text(
            json.dumps(
                {
                    "format": "volseg-prompts",
                    "version": 1,
                    "layers": [{"name": "mine"}],
                    "objects": [
                        {
                            "id": 3,
                            "layer": "mine",
                            "prompts": [{"z": 0, "t": 1, "box": [100, 100, 160, 160]}],
                        }
                    ],
                }
            )
        )
        run("segment", url, "--prompts", prompts, "--time", 1)
        volume = volseg.open(url)
        assert set(volume.labels) == {*theirs, "mine"}
        mine = np.asarray(volume.labels["mine"].levels[0])
        assert mine.shape == (3, 2, 512, 512)
        assert set(np.unique(mine[1])) == {0, 3}
        assert not mine[0].any()
        assert not mine[2].any()
        assert object_digests(str(url), f"labels/{theirs[0]}") == before

    def test_a_channel_is_chosen(self, tmp_path: Path) -> None:
        shape = (4, 64, 64)
        url = str(tmp_path / "two.zarr")
        volume = create_volume(
            url, axes="czyx", shape=(2, *shape), dtype="uint8", scale_um=(1, 1, 1)
        )
        whole = tuple((0, n) for n in shape)
        rng = np.random.default_rng(0)
        disc = np.hypot(*(np.indices(shape[1:]) - 32)) < 14
        empty = rng.normal(30, 3, shape)
        volume.write(whole, empty.astype(np.uint8), channel=0)
        volume.write(whole, (empty + 150 * disc).astype(np.uint8), channel=1)
        prompts = tmp_path / "prompts.json"
        prompts.write_text(
            json.dumps(
                {
                    "format": "volseg-prompts",
                    "version": 1,
                    "layers": [{"name": "discs"}],
                    "objects": [
                        {"id": 2, "layer": "discs", "prompts": [{"z": 1, "points": [[32, 32, 1]]}]}
                    ],
                }
            )
        )
        run("segment", url, "--prompts", prompts, "--channel", 1)
        labels = volseg.open(url).labels["discs"]
        found = np.asarray(labels.levels[0]) == 2
        truth = np.broadcast_to(disc, shape)
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
        assert labels.channel == 1
