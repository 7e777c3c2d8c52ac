"""The dense model's training goes on where it was killed, draws by the step's number, and exports what it trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from volseg.errors import NotThereError
from volseg.sam.nano import dense as nano_dense
from volseg.sam.registry import find_model
from volseg.training import dense, synthetic
from volseg.training.data import synthetic_source
from volseg.training.dense_pairs import generated_pairs
from volseg.training.dense_validate import iou, msa
from volseg.training.loop import Schedule, train

PROJECT = Path(__file__).resolve().parents[2]


def maker(pairs: int = 1, singles: int = 1) -> object:
    sources = [synthetic_source("synthetic_nuclei", 1.0)]
    pair_sources = [generated_pairs("nuclei", 1.0, synthetic.nuclei, background=True)]
    return dense.batch_maker(sources, pair_sources, dense.Recipe(pairs=pairs, singles=singles))


def test_a_batch_depends_on_its_number_alone() -> None:
    make = maker()
    one, again, other = make(5), make(5), make(6)
    assert torch.equal(one.pixels, again.pixels)
    assert torch.equal(one.truth, again.truth)
    assert not torch.equal(one.pixels, other.pixels)
    assert one.pairs == 1
    assert len(one.pixels) == 3
    assert one.weights[0, -1].any()
    assert not one.weights[1:, -1].any()


@pytest.mark.parametrize(("pairs", "singles"), [(0, 1), (1, 0)])
def test_a_few_steps_and_an_export(pairs: int, singles: int, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, rate=1e-3)
    state = dense.start(schedule, 0, "cpu")
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    device = torch.device("cpu")
    loss = dense.batch_loss(dense.frozen_encoder(device), device, bfloat16=False)
    train(state, maker(pairs, singles), loss, schedule, tmp_path / "checkpoint.pt", report_every=1)
    moved = {n for n, v in state.model.state_dict().items() if not torch.equal(v, before[n])}
    assert ("pair.4.bias" in moved) == bool(pairs)
    assert any(name.startswith("stem") for name in moved)
    assert state.curve[-1]["loss"] > 0
    (tmp_path / "training.json").write_text(json.dumps({"parent": vars(dense.parent_of(1))}))
    record = dense.export(tmp_path, tmp_path)
    loaded = nano_dense.load(folder=tmp_path)
    assert loaded.spec.sha256 == record["weights_sha256"]
    loaded.spec.check_parent(find_model("nano@1"))
    average = dense.from_checkpoint(tmp_path / "checkpoint.pt").network.state_dict()
    torch.testing.assert_close(loaded.network.state_dict()["stem.0.weight"],
                               average["stem.0.weight"].half().float())  # fmt: skip


def test_embeddings_are_those_of_the_cache() -> None:
    from volseg.sam.registry import load_model

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), dtype=np.uint8)
    cached = load_model("nano@1").encode(pixels)
    encoded = dense.frozen_encoder(torch.device("cpu"), 1)(torch.from_numpy(pixels))
    assert encoded.dtype == torch.float16
    np.testing.assert_allclose(encoded.numpy(), cached, atol=2e-3)


def test_no_checkpoint_and_no_length_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(NotThereError, match="no checkpoint"):
        dense.from_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit):
        dense.main(["--out", str(tmp_path)])
    assert "--minutes or --steps" in capsys.readouterr().err


def test_the_score_of_separate_objects() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[5:15, 5:15], truth[20:30, 20:30] = 1, 2
    assert msa(truth, truth) == 1
    assert msa(np.zeros_like(truth), truth) == 0
    assert msa(np.zeros_like(truth), np.zeros_like(truth)) == 1
    half = np.where(truth == 1, 1, 0).astype(np.int32)
    assert msa(half, truth) == pytest.approx(0.5)
    shifted = np.roll(truth, 1, 0)  # IoU 9 / 11: seven of ten thresholds
    assert msa(shifted, truth) == pytest.approx(0.7)
    assert iou(truth > 0, half > 0) == 0.5
    assert iou(truth > 9, truth > 9) == 1


def start(out: Path, data: Path, steps: int) -> subprocess.Popen[bytes]:
    arguments = f"--steps {steps} --singles 1 --pairs 1 --save-every 0"
    return subprocess.Popen(
        [sys.executable, "-m", "volseg.training.dense", *arguments.split(),
         "--out", str(out), "--data", str(data)],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.long
def test_killed_at_any_moment_it_goes_on(shared_data: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    process = start(tmp_path, shared_data, 30)
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < reached < 30
    process = start(tmp_path, shared_data, 30)
    assert process.wait(timeout=300) == 0
    assert torch.load(checkpoint, weights_only=True)["step"] == 30
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["parent"]["sha256"] == find_model("nano").sha256
    assert record["data_sha256"]
