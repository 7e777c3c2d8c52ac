"""SAM 2 through the seam of models: the smallest size, random weights, 256 pixels; where the package is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import volseg
from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
from volseg.errors import ModelUnavailableError, NotThereError, UnknownModelError
from volseg.features import embed_volume
from volseg.models.model import TilePrompt
from volseg.models.registry import find_model, load_model

NAMES = ("image", "fine", "middle")
POINT = TilePrompt(np.array([[100.5, 90.5]], np.float32), np.array([1]))
BOX = TilePrompt(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), (50.0, 60.0, 150.0, 160.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    build = pytest.importorskip("sam2.build_sam", reason="the package sam2 is not installed")
    torch.manual_seed(0)
    sized = ["++model.image_size=256"]
    made = build.build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", None, "cpu", hydra_overrides_extra=sized)  # fmt: skip
    path = tmp_path_factory.mktemp("sam2") / "tiny.pt"
    torch.save({"model": made.state_dict()}, path)
    return f"sam2_t@256:{path}"


def test_answers_are_those_of_its_own_predictor(tiny: str) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model = load_model(tiny, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (3, 256, 256)).astype(np.uint8)
    embedding = model.encode(image[None])[0]
    reference = SAM2ImagePredictor(model.network.module)
    reference._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]
    reference.set_image(image.transpose(1, 2, 0))
    features = reference._features
    mine = {name: torch.from_numpy(embedding[name].astype(np.float32))[None] for name in NAMES}
    theirs = [features["image_embed"], *features["high_res_feats"]]
    for name, array in zip(NAMES, theirs, strict=True):
        np.testing.assert_allclose(mine[name], array, atol=1e-2)  # rounded to float16
    features["image_embed"] = mine["image"]
    features["high_res_feats"] = [mine["fine"], mine["middle"]]
    of_point, of_box = model.decode(embedding, [POINT, BOX])
    _, scores, low = reference.predict(np.array([[100.0, 90.0]]), np.array([1]))
    assert of_point[0].shape == (3, 64, 64)
    np.testing.assert_allclose(of_point[0], low, atol=1e-4)
    np.testing.assert_allclose(of_point[1], scores, atol=1e-5)
    _, scores, low = reference.predict(box=np.array([50, 60, 150, 160]))
    np.testing.assert_allclose(of_box[0][:3], low, atol=1e-4)
    np.testing.assert_allclose(of_box[1][:3], scores, atol=1e-5)


def test_it_embeds_segments_and_answers_a_click(tiny: str, tmp_path: Path) -> None:
    from napari_plugin.interactive import Choice, open_interactive
    from volseg.propagation import SlicePrompt

    truth = make_truth((3, 72, 64), 2, seed=8)
    volume = volseg.open(make_volume(str(tmp_path / "v.zarr"), truth).location.url, writable=True)
    key = embed_volume(volume, tiny, zoom=1.0)
    objects = list(volume.output_store.list(f"volseg/embeddings/{key}"))
    assert objects
    result = volseg.segment(volume, point_prompts(truth), "cells", tiny, zoom=1.0)
    assert result.plan.predictor.variant == "sam2_t"
    assert (
        list(volume.output_store.list(f"volseg/embeddings/{key}")) == objects
    )  # none was made anew
    predictor = open_interactive(volume, Choice(tiny, zoom=1.0))
    click = SlicePrompt(np.array([[36.0, 32.0]]), np.array([1]))
    (candidates,) = predictor.predict(1, [click])
    assert candidates.masks.any()
    assert (
        predictor.cache.memory.encoded == 1
    )  # read from the store: what was embedded ahead serves the click


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLSEG_MODELS", str(tmp_path))
    spec = find_model("sam2_b+")
    assert spec.family == "sam2"
    assert spec.img_size == 1024
    assert spec.path.parent == tmp_path
    assert str(spec.url).endswith("sam2.1_hiera_base_plus.pt")
    with pytest.raises(UnknownModelError, match="sam2_t, sam2_s"):
        find_model("sam2_xl")
    with pytest.raises(UnknownModelError, match="multiple of 32"):
        find_model("sam2_t@250")
    with pytest.raises(NotThereError, match="no checkpoint"):
        find_model(f"sam2_t:{tmp_path / 'none.pt'}")


def test_another_models_checkpoint_is_refused_with_the_way_to_the_package(tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(ModelUnavailableError, match=r"sam2==1\.1\.0|does not fit"):
        load_model(f"sam2_t@256:{tmp_path / 'x.pt'}", device="cpu")
