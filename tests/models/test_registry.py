"""Names, paths and URLs of models, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from volseg.errors import ModelUnavailableError, NotThereError, UnknownModelError
from volseg.models import weights
from volseg.models.registry import fetch, find_model, list_models, load_model, model_card
from volseg.models.sam import family


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLSEG_MODELS", str(tmp_path / "models"))


def small_sam(width: int = 768) -> Sam:
    """A SAM of the official form with one block and small images."""
    return Sam(
        ImageEncoderViT(
            img_size=64,
            embed_dim=width,
            depth=1,
            num_heads=12,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            out_chans=32,
        ),
        PromptEncoder(32, (4, 4), (64, 64), 16),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64),
        ),
    )


def test_the_named_models_and_their_digests() -> None:
    specs = {spec.name: spec for spec in list_models()}
    assert list(specs) == ["nano", "nano@1", "vit_b", "vit_l", "vit_h"]
    assert specs["vit_b"].embedding_bytes == 2 * 2**20
    for name in ("vit_b", "vit_l", "vit_h"):
        assert specs[name].sha256 is not None
        assert len(specs[name].sha256) == 64
        assert "Apache" in model_card(name)


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, volseg.models.registry as r; r.list_models(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_names_and_missing_files() -> None:
    with pytest.raises(UnknownModelError, match=r"'vit_x'.*nano, nano@1, vit_b, vit_l, vit_h"):
        find_model("vit_x")
    with pytest.raises(NotThereError, match=r"nowhere/mine\.pth"):
        find_model("nowhere/mine.pth")
    with pytest.raises(UnknownModelError, match="sha256="):
        find_model("https://example.org/a.pth#md5=1")


def test_urls_never_become_paths_unchecked(tmp_path: Path) -> None:
    spec = find_model("https://example.org/x/..%2f..%2fetc/pass wd.pth#sha256=" + "0" * 64)
    assert spec.path.parent == tmp_path / "models"
    assert spec.sha256 == "0" * 64


def test_offline_the_message_says_where_to_put_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "OFFICIAL", "http://127.0.0.1:9/")
    monkeypatch.setattr(weights, "download", partial(weights.download, pause=0.0, timeout=1.0))
    with pytest.raises(ModelUnavailableError, match="By hand") as caught:
        fetch("vit_b")
    message = str(caught.value)
    assert "http://127.0.0.1:9/sam_vit_b_01ec64.pth" in message
    assert str(find_model("vit_b").path) in message
    assert str(find_model("vit_b").sha256) in message


def test_a_damaged_file_in_the_cache_is_not_loaded() -> None:
    spec = find_model("vit_b")
    spec.path.parent.mkdir(parents=True)
    spec.path.write_bytes(b"half a file")
    with pytest.raises(ModelUnavailableError, match="Delete the file"):
        load_model("vit_b", device="cpu")


@pytest.mark.parametrize("wrapped", [None, "model", "model_state"])
def test_a_checkpoint_of_the_official_format_loads_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: str | None
) -> None:
    from volseg.models.sam import checkpoint

    monkeypatch.setattr(checkpoint, "sam_model_registry", {"vit_b": small_sam})
    original = small_sam()
    state = original.state_dict()
    path = tmp_path / "mine.pth"
    torch.save(state if wrapped is None else {wrapped: state, "step": 3}, path)
    loaded = load_model(path, device="cpu")
    assert loaded.spec.kind == "vit_b"
    assert loaded.spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    sam = loaded.network.module
    assert torch.equal(sam.mask_decoder.iou_token.weight, original.mask_decoder.iou_token.weight)
    assert not any(p.requires_grad for p in sam.parameters())


def test_what_is_no_sam_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelUnavailableError, match="not a SAM checkpoint"):
        load_model(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelUnavailableError, match="not a readable checkpoint"):
        load_model(tmp_path / "text.pth")


class Malicious:
    """Runs code when unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.witness,)


def test_a_checkpoint_that_would_run_code_does_not(tmp_path: Path) -> None:
    witness = tmp_path / "was here"
    torch.save({"model": Malicious(witness)}, tmp_path / "evil.pth")
    with pytest.raises(ModelUnavailableError, match="not a readable checkpoint"):
        load_model(tmp_path / "evil.pth")
    assert not witness.exists()
