"""`volseg finetune`: a model's folder comes of label images, and works wherever a model is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import volseg as library
from tests.cli.conftest import Said

Command = Callable[..., Said]
QUICK = ("--steps", "8", "--replay", "1", "--slices", "1", "--json")


def make_plane(url: Path) -> str:
    """Six discs on noise, as labels of another writer: no table."""
    volume = library.create_volume(
        str(url), axes="zyx", shape=(1, 70, 90), dtype="uint16", scale_um=(1, 1, 1)
    )
    rng = np.random.default_rng(1)
    image = rng.normal(100, 10, (1, 70, 90))
    truth = np.zeros((1, 70, 90), np.uint32)
    y, x = np.mgrid[:70, :90]
    for number in range(6):
        cy, cx = 18 + 34 * (number // 3), 16 + 29 * (number % 3)
        disc = (y - cy) ** 2 + (x - cx) ** 2 <= 8**2
        image[0, disc] += 60
        truth[0, disc] = number + 1
    whole = ((0, 1), (0, 70), (0, 90))
    volume.write(whole, image.astype(np.uint16))
    volume.create_labels("cells").write_objects(whole, truth)
    return str(url)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_plane(tmp_path_factory.mktemp("plane") / "plane.zarr")


@pytest.fixture(scope="module")
def tuned(plane: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("tuned") / "tuned.model")
    library.finetune([(plane, "cells")], out=place, steps=8, replay=1, slices=1)
    return place


def test_the_same_bytes_twice_and_a_card_with_the_verdict(
    volseg: Command, plane: str, tuned: str, tmp_path: Path
) -> None:
    again = tmp_path / "again.model"
    said = volseg("finetune", plane, "cells", "--out", str(again), *QUICK)
    assert said.status == 0, said.err
    told = json.loads(said.out)
    assert told["objects"] == 6 and isinstance(told["better"], bool)
    assert told["verdict"]["point"]["objects"] == 5  # the first round's object is not counted
    for path in Path(tuned).iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    card = volseg("models", "show", str(again)).out
    assert told["verdict"]["why"] in card


def test_it_segments_with_its_own_hash_and_its_parents_embeddings(
    volseg: Command, plane: str, tuned: str, tmp_path: Path
) -> None:
    assert volseg("embed", plane).status == 0
    kept = sorted(p.name for p in Path(plane, "volseg", "embeddings").iterdir())
    assert volseg("embed", plane, "--model", tuned).status == 0
    assert sorted(p.name for p in Path(plane, "volseg", "embeddings").iterdir()) == kept
    prompts = tmp_path / "prompts.json"
    assert (
        volseg("prompts", "from-labels", f"{plane}/labels/cells", "--out", str(prompts)).status == 0
    )
    said = volseg(
        "segment", plane, "--prompts", str(prompts), "--labels", "found", "--model", tuned, "--plan-only", "--json"
    )  # fmt: skip
    assert said.status == 0, said.err
    sha256 = json.loads(Path(tuned, "manifest.json").read_text())["sha256"]
    assert sha256 in said.out


def test_it_brings_its_parents_dense_maps_along(tuned: str) -> None:
    from volseg.models.dense_heads import find_dense
    from volseg.models.registry import find_model

    spec = find_model(tuned)
    assert find_dense(spec) == find_dense(find_model("nano"))
    find_dense(spec).check_parent(spec)


def test_a_changed_byte_is_refused(volseg: Command, plane: str, tuned: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.model"
    broken.mkdir()
    for path in Path(tuned).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = broken / "decoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    said = volseg("embed", plane, "--model", str(broken))
    assert said.status == 2 and "SHA-256" in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{url}", "nothing", "--out", "{new}"], "nothing"),
        (["{url}", "cells", "--out", "{tuned}"], "--overwrite"),
        (["{url}", "cells", "--out", "{new}", "--part", "full"], "--part"),
        (["{url}", "cells", "--out", "{new}", "--model", "{new}"], "no model"),
        (["{url}", "cells", "--out", "{new}", "--corrected-only"], "touched or accepted"),
        (["{url}", "cells", "--out", "{new}", "--steps", "0"], "steps"),
        (["{url}", "cells", "--out", "{new}", "--channel", "3"], "channel"),
    ],
)
def test_errors_in_one_line(
    volseg: Command, plane: str, tuned: str, tmp_path: Path, arguments: list[str], told: str
) -> None:
    places = {"url": plane, "new": str(tmp_path / "new.model"), "tuned": tuned}
    said = volseg("finetune", *(word.format(**places) for word in arguments))
    assert said.status == 2 and told in said.err
    assert not Path(places["new"]).exists()


def test_what_nobody_looked_at_teaches_nothing(volseg: Command, tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        url = make_plane(tmp_path / f"{name}.zarr")
        labels = library.open(url).labels["cells"]
        with labels.edit(annotator="annotator-1") as editor:
            for id_, y, x in ((1, 18, 25), (2, 18, 54), (4, 52, 25)):
                editor[0, y, x] = id_
            if name == "b":  # the truth of all others is turned around
                whole = np.asarray(labels.levels[0])[0]
                editor[0] = np.where(np.isin(whole, (3, 5, 6)), 0, np.asarray(editor[0]))
        folders.append(tmp_path / f"{name}.model")
        said = volseg(
            "finetune", url, "cells", "--out", str(folders[-1]), "--corrected-only", *QUICK
        )
        assert said.status == 0 and json.loads(said.out)["objects"] == 3, said.err
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name
