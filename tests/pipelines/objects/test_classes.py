"""Classes of objects from the command line: a few by people, the rest by what was learned from them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.discs import Scene, textured_discs
from tests.cli.conftest import Said
from volseg.images.image import open_volume
from volseg.images.objects import MODEL, ObjectRow

Volseg = Callable[..., Said]
LABELLED = 30


@pytest.fixture(scope="module")
def scene() -> Scene:
    return textured_discs(3, count=64)


@pytest.fixture(scope="module")
def source(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume of 64 discs, thirty of them labelled by anna, and a model trained on them."""
    folder = tmp_path_factory.mktemp("classes")
    volume = scene.write(folder / "v.zarr")
    with volume.labels["cells"].edit(annotator="anna") as editor:
        editor.set_classes({i + 1: scene.classes[i] for i in range(LABELLED)})
    return folder


@pytest.fixture
def url(source: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(source / "v.zarr", tmp_path / "v.zarr"))


def done(said: Said) -> Said:
    assert said.status == 0, said.err
    return said


def rows(url: str) -> dict[int, ObjectRow]:
    return {row.id: row for row in open_volume(url).labels["cells"].objects.rows()}


def test_a_few_labels_sort_the_rest(volseg: Volseg, url: str, scene: Scene, tmp_path: Path) -> None:
    model = tmp_path / "discs.model"
    told = json.loads(done(volseg("objects", "train", url, "cells", "--out", model, "--json")).out)
    assert sum(told["labels"].values()) == LABELLED
    assert told["validation"]["balanced_accuracy"] > 0.9
    assert "balanced accuracy" in (model / "README.md").read_text()
    done(volseg("objects", "label", url, "cells", "1=oddity", "--annotator", "ben"))
    done(volseg("objects", "classify", url, "cells", "--model", model))
    found = rows(url)
    right = [found[i + 1].class_ == scene.classes[i] for i in range(LABELLED, 64)]
    assert sum(right) >= 0.94 * len(right)
    assert (found[1].class_, found[1].class_by, found[1].class_confidence) == (
        "oddity",
        "ben",
        None,
    )
    assert found[2].class_by == "anna"
    last = found[64]
    assert last.class_by is not None and last.class_by.startswith(f"{MODEL}discs@")
    assert last.class_confidence is not None and 0.5 < last.class_confidence <= 1
    _reaches_every_export(volseg, url, tmp_path, found)


def _reaches_every_export(
    volseg: Volseg, url: str, folder: Path, found: dict[int, ObjectRow]
) -> None:
    done(volseg("export", url, "cells", "--out", folder / "a.csv"))
    with (folder / "a.csv").open() as file:
        table = {int(row["id"]): row for row in csv.DictReader(file)}
    assert {i: row["class"] for i, row in table.items()} == {
        i: row.class_ for i, row in found.items()
    }
    assert table[64]["class_by"] == found[64].class_by and table[2]["class_confidence"] == ""
    done(volseg("export", url, "cells", "--out", folder / "a.json"))
    assert MODEL in (folder / "a.json").read_text()
    done(volseg("import-labels", folder / "a.json", url, "again"))
    again = {row.id: row for row in open_volume(url).labels["again"].objects.rows()}
    for i in (1, 2, 64):
        assert again[i].class_by == found[i].class_by
        assert again[i].class_confidence == found[i].class_confidence
    said = done(volseg("objects", "label", url, "again", "--csv", folder / "a.csv"))
    assert f"{LABELLED} objects labelled" in said.out  # a model's classes are nobody's word
    done(volseg("export", url, "cells", "--format", "coco", "--out", folder / "a.coco.json"))
    coco = json.loads((folder / "a.coco.json").read_text())
    assert {one["name"] for one in coco["categories"]} == {"coarse", "fine", "oddity"}


def test_the_same_labels_give_the_same_bytes(volseg: Volseg, url: str, tmp_path: Path) -> None:
    for kind in ("logistic", "trees"):
        for name in ("a.model", "b.model"):
            place = tmp_path / kind / name
            place.parent.mkdir(exist_ok=True)
            done(volseg("objects", "train", url, "cells", "--out", place, "--kind", kind))
        first, second = (
            {f.name: f.read_bytes() for f in (tmp_path / kind / n).iterdir()}
            for n in ("a.model", "b.model")
        )
        assert first == second and len(first) == 4


def test_a_person_corrects_a_model_and_takes_it_back(
    volseg: Volseg, url: str, tmp_path: Path
) -> None:
    model = tmp_path / "m.model"
    done(volseg("objects", "train", url, "cells", "--out", model))
    done(volseg("objects", "classify", url, "cells", "--model", model))
    by_model = rows(url)[50]
    labels = open_volume(url).labels["cells"]
    with labels.edit(annotator="cleo") as editor:
        editor.set_class(50, by_model.class_)  # agrees: from now on a person's word
        editor.flush()
        assert rows(url)[50].class_by == "cleo"
        editor.undo()
    again = rows(url)[50]
    assert (again.class_by, again.class_confidence) == (
        by_model.class_by,
        by_model.class_confidence,
    )


def test_classes_of_a_table_and_several_images(
    volseg: Volseg, url: str, scene: Scene, tmp_path: Path
) -> None:
    other = tmp_path / "w.zarr"
    textured_discs(4, count=25).write(other)
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "class"])
        writer.writerows(
            [[i + 1, name] for i, name in enumerate(textured_discs(4, count=25).classes[:12])]
        )
    done(volseg("objects", "label", other, "cells", "--csv", tmp_path / "classes.csv"))
    nothing = textured_discs(5, count=1)
    Scene(nothing.image, nothing.labels * 0, ()).write(tmp_path / "empty.zarr")
    model = tmp_path / "m.model"
    images = (url, "cells", other, tmp_path / "empty.zarr", "cells")
    told = done(volseg("objects", "train", *images, "--out", model, "--json"))
    assert sum(json.loads(told.out)["labels"].values()) == LABELLED + 12
    said = done(volseg("objects", "classify", tmp_path / "*.zarr", "cells", "--model", model))
    assert len(said.out.splitlines()) == 3
    assert all(row.class_ for row in rows(str(other)).values())


def test_what_does_not_fit_is_refused_in_one_line(volseg: Volseg, url: str, tmp_path: Path) -> None:
    model = tmp_path / "m.model"
    done(volseg("objects", "train", url, "cells", "--out", model))
    deep = tmp_path / "deep.zarr"
    from tests.pipelines.segmentation.volumes import make_truth, make_volume

    make_volume(str(deep), make_truth((3, 40, 40), 3))
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("classify", deep, "truth", "--model", model), "3D"),
        (("classify", url, "cells", "--model", tmp_path / "none.model"), "is no model"),
        (("classify", url, "cells", "--model", "m"), "is no model"),
        (("classify", url, "nothing", "--model", model), "no label image"),
        (("train", deep, "truth", "--out", tmp_path / "d.model"), "people gave none"),
        (("train", url, "cells", "--out", model), "--overwrite"),
        (("train", url, "cells", "--out", tmp_path / "e.model", "--kind", "forest"), "logistic"),
        (("train", url, "cells", deep, "truth", "--out", tmp_path / "f.model"), "2D against 3D"),
        (("label", url, "cells", "900=x"), "no object 900"),
        (("label", url, "cells", "x=1"), "ID=CLASS"),
        (("measure", url, "cells", "--channels", "7"), "channel 7"),
    ]
    for command, told in cases:
        said = volseg("objects", *command)
        assert said.status == 2 and told in said.err and len(said.err.strip().splitlines()) == 1, (
            said.err
        )
    assert not (tmp_path / "d.model").exists()
    (model / "trees.txt").write_text("x")
    (model / "logistic.npz").write_bytes(b"x")
    assert (
        "was changed since it was written"
        in volseg("objects", "classify", url, "cells", "--model", model).err
    )


def test_a_network_on_patches_and_what_it_sees(
    volseg: Volseg, url: str, scene: Scene, tmp_path: Path
) -> None:
    model = tmp_path / "m.model"
    settings = ("--set", "epochs=40", "--set", "size=24", "--set", "width=4")
    done(volseg("objects", "train", url, "cells", "--out", model, "--kind", "network", *settings))
    done(volseg("objects", "classify", url, "cells", "--model", model))
    found = rows(url)
    right = [found[i + 1].class_ == scene.classes[i] for i in range(LABELLED, 64)]
    assert sum(right) >= 0.8 * len(right)
    wrong = volseg(
        "objects", "train", url, "cells", "--out", tmp_path / "n.model", "--set", "epochs=3"
    )
    assert wrong.status == 2 and "patches" in wrong.err
    done(
        volseg(
            "objects", "export-patches", url, "cells", "--out", tmp_path / "p.npz", "--size", "20"
        )
    )
    with np.load(tmp_path / "p.npz") as file:
        patches, ids, classes = file["patches"], file["id"], file["class"]
    assert patches.shape == (LABELLED, 2, 1, 20, 20)
    assert classes.tolist() == [scene.classes[i - 1] for i in ids]
    y, x = (int(v) for v in np.argwhere(scene.labels == 1).mean(axis=0).round())
    np.testing.assert_array_equal(
        patches[0, 0, 0], scene.image[0, y - 10 : y + 10, x - 10 : x + 10]
    )
    np.testing.assert_array_equal(
        patches[0, 1, 0], scene.labels[y - 10 : y + 10, x - 10 : x + 10] == 1
    )


def test_what_no_person_labelled_teaches_nothing(volseg: Volseg, url: str, tmp_path: Path) -> None:
    """Classes of a model, and those that a layer's name gives to all its objects, change no byte of what is learned."""
    done(volseg("objects", "train", url, "cells", "--out", tmp_path / "a.model"))
    labels = open_volume(url).labels["cells"]
    for i in range(LABELLED + 1, 65):
        labels.objects.set(i, class_="fine" if i % 2 else "oddity", class_by=MODEL + "other@1")
    done(volseg("objects", "train", url, "cells", "--out", tmp_path / "b.model"))
    first, second = (
        {f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("a.model", "b.model")
    )
    assert first == second
    labels.objects.set(64, class_="oddity", class_by="ben")
    done(volseg("objects", "train", url, "cells", "--out", tmp_path / "c.model"))
    assert (tmp_path / "c.model" / "manifest.json").read_bytes() != first["manifest.json"]


def test_a_category_of_a_layer_is_nobodys_word() -> None:
    assert ObjectRow(1, class_="nucleus").class_of_person("nucleus") is None
    assert ObjectRow(1, class_="nucleus").class_of_person(None) == "nucleus"
    assert ObjectRow(1, class_="nucleus", class_by="anna").class_of_person("nucleus") == "nucleus"
    assert ObjectRow(1, class_="nucleus", class_by=MODEL + "m@1").class_of_person(None) is None
    assert ObjectRow.from_json({"id": 3, "class": "nucleus"}).class_by is None  # of an older table


def test_all_of_it_in_a_bucket(volseg: Volseg, s3_url: str) -> None:
    url, model = f"{s3_url}/v.zarr", f"{s3_url}/m.model"
    scene = textured_discs(5, count=16, radius=8)
    scene.write(url)
    given = [f"{i + 1}={scene.classes[i]}" for i in range(10)]
    done(volseg("objects", "label", url, "cells", *given, "--annotator", "anna"))
    done(volseg("objects", "train", url, "cells", "--out", model))
    done(volseg("objects", "classify", url, "cells", "--model", model))
    found = rows(url)
    assert len(found) == 16 and all(row.class_ for row in found.values())
    done(volseg("objects", "drop", url, "cells", "--class", scene.classes[0], "--labels", "rest"))
