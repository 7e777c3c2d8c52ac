"""Versions of `nano`: each loads by name for good, `nano` is the newest, and old plans find the weights they named."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from volseg.errors import InputError, ModelUnavailableError, UnknownModelError
from volseg.models import nano
from volseg.models.nano import architecture, versions
from volseg.models.nano.versions import (
    newest_version,
    parse_name,
    read_record,
    shipped_versions,
    version_folder,
    version_of,
)
from volseg.models.registry import find_model, find_planned, load_model, model_card

FIRST = "5950c17462bb6eb6e590c66d0596297539a324681ac4c34bb4deb331515dec11"


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which versions 1, 2 and 10 ship, of other weights each."""
    package = tmp_path_factory.mktemp("package")
    sam = nano.build()
    for version in (1, 2, 10):
        folder = package / f"v{version}"
        folder.mkdir()
        torch.nn.init.constant_(sam.prompt_encoder.no_mask_embed.weight, version)
        nano.save(sam, folder, object_size=40 + version)
        (folder / "MODEL_CARD.md").write_text(f"# nano, version {version}\n")
    return package


@pytest.fixture
def package(three_versions: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`three_versions`, in the place of the package's own."""
    monkeypatch.setattr(versions, "PACKAGE", three_versions)
    return three_versions


@pytest.mark.parametrize("version", shipped_versions())
def test_every_shipped_version_is_what_its_records_say(version: int) -> None:
    folder = version_folder(version)
    record = read_record(folder)
    weights = json.loads((folder / "weights.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    assert hashlib.sha256(record.path.read_bytes()).hexdigest() == record.sha256
    assert training["weights_sha256"] == record.sha256
    assert record.sha256 in (folder / "MODEL_CARD.md").read_text()
    assert weights["bytes"] == record.path.stat().st_size < 16_000_000
    assert training["curve"][-1]["step"] <= training["steps"]
    assert training["sittings"][0]["from_step"] == 0
    sam = nano.load(version=version)
    assert architecture.encoder_of(sam) == record.encoder
    assert sum(p.numel() for p in sam.parameters()) == weights["parameters"]
    assert sam.image_encoder.img_size == record.img_size
    with torch.inference_mode():
        embedding = sam.image_encoder(torch.zeros(1, 3, record.img_size, record.img_size))
    assert embedding.shape[1:] == record.embedding


def test_the_first_version_never_changes() -> None:
    spec = find_model("nano@1")
    assert spec.sha256 == FIRST
    assert (spec.name, spec.kind, spec.img_size) == ("nano@1", "nano", 256)
    assert FIRST in model_card("nano@1")
    assert version_of(FIRST) == 1
    assert read_record(version_folder(1)).encoder == "pyramid"


def test_nano_is_the_newest_by_number_not_by_letters(package: Path) -> None:
    assert shipped_versions(package) == (1, 2, 10)
    assert newest_version(package) == 10
    assert find_model("nano").path == package / "v10" / "nano.pt"
    assert find_model("nano").object_size == 50
    assert find_model("nano@2").object_size == 42
    assert model_card("nano") == "# nano, version 10\n"
    assert model_card("nano@1") == "# nano, version 1\n"


@pytest.mark.parametrize("version", [1, 2, 10])
def test_a_plan_gets_the_weights_that_it_was_made_with(package: Path, version: int) -> None:
    then = find_model(f"nano@{version}")
    assert then.sha256 is not None
    found = find_planned("nano", then.sha256)
    assert found == replace(then, name="nano")
    model = load_model(found, device="cpu")
    assert model.spec.sha256 == then.sha256
    assert float(model.network.module.prompt_encoder.no_mask_embed.weight[0, 0]) == version
    pinned = load_model(f"nano@{version}", device="cpu")
    assert float(pinned.network.module.prompt_encoder.no_mask_embed.weight[0, 0]) == version


def test_a_plan_of_weights_that_nobody_has_keeps_its_name(package: Path) -> None:
    assert find_planned("nano", "0" * 64) == find_model("nano")
    assert find_planned("vit_b", "0" * 64) == find_model("vit_b")
    assert find_planned("nano@2", FIRST) == find_model("nano@2")


@pytest.mark.parametrize("name", ["nano@", "nano@0", "nano@01", "nano@-1", "nano@1.0", "nano@x"])
def test_what_is_no_version_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError, match="nano@1"):
        find_model(name)
    with pytest.raises(UnknownModelError):
        parse_name(name)


def test_a_version_that_does_not_ship_is_refused_with_those_that_do(package: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"version 3.*nano@1, nano@2, nano@10"):
        find_model("nano@3")
    with pytest.raises(UnknownModelError, match="version 3"):
        nano.load(version=3)


def test_a_package_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="install the package again"):
        version_folder(None, tmp_path)
    (tmp_path / "v1").mkdir()
    with pytest.raises(ModelUnavailableError, match=r"weights\.json is missing"):
        read_record(tmp_path / "v1")
    (tmp_path / "v1" / "weights.json").write_text('{"file": "nano.pt"}')
    with pytest.raises(ModelUnavailableError, match="sha256"):
        read_record(tmp_path / "v1")
    (tmp_path / "v1" / "weights.json").write_text("{")
    with pytest.raises(ModelUnavailableError, match="no record"):
        read_record(tmp_path / "v1")


def test_damaged_weights_are_refused_by_name(package: Path) -> None:
    path = package / "v2" / "nano.pt"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ModelUnavailableError, match=r"nano@2.*SHA-256.*install the package again"):
        load_model("nano@2", device="cpu")
    path.write_bytes(content)


def test_an_encoder_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'vit'.*pyramid"):
        nano.build("vit")
    nano.save(nano.build(), tmp_path)
    record = json.loads((tmp_path / "weights.json").read_text())
    (tmp_path / "weights.json").write_text(json.dumps(record | {"encoder": "newer"}))
    with pytest.raises(InputError, match="newer"):
        nano.load(folder=tmp_path)
