"""The dense model's training goes on where it was killed, draws by the step's number, and exports what it trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from volseg.errors import NotThereError
from volseg.models.nano import dense as nano_dense
from volseg.models.registry import find_model
from volseg.training import dense, synthetic
from volseg.training.data import synthetic_source
from volseg.training.dense_batches import Batch, Draw, Recipe, batch_maker, joined
from volseg.training.dense_pairs import generated_pairs
from volseg.training.dense_validate import from_checkpoint
from volseg.training.loop import Schedule, train

PROJECT = Path(__file__).resolve().parents[2]


def maker(pair_every: int = 2, visits: int = 1) -> Callable[[int], Batch]:
    sources = [synthetic_source("synthetic_nuclei", 1.0)]
    pair_sources = [generated_pairs("nuclei", 1.0, synthetic.nuclei, background=True)]
    recipe = Recipe(tiles=2, pair_every=pair_every, visits=visits, apart=2)
    return batch_maker(sources, pair_sources, recipe)


def test_a_batch_depends_on_its_number_alone() -> None:
    make = maker(visits=2)
    batches = {number: make(number) for number in range(4)}
    for number in (3, 1):  # another order, as after a kill
        for one, other in zip(maker(visits=2)(number), batches[number], strict=True):
            assert one.number == other.number
            assert torch.equal(one.pixels, other.pixels)
            assert torch.equal(one.truth, other.truth)
    assert batches[3][1] is batches[1][0]  # visited again, not drawn again
    assert not torch.equal(batches[2][0].pixels, batches[0][0].pixels)
    numbers = [draw.number for batch in batches.values() for draw in batch]
    assert len(set(numbers)) == 6


def test_every_second_step_draws_a_pair() -> None:
    make = maker()
    (even,), (odd,) = make(4), make(5)
    assert (even.pairs, odd.pairs) == (1, 0)
    assert len(even.pixels) == len(odd.pixels) == 2
    assert even.weights[0, -1].any()
    assert not even.weights[1:, -1].any()
    assert not odd.weights[:, -1].any()


def test_draws_are_joined_with_pairs_first() -> None:
    batch = tuple(
        Draw(torch.empty(0), torch.empty(0), torch.empty(0), pairs, number)
        for number, pairs in enumerate((1, 0, 1))
    )
    parts = [torch.tensor([[11.0], [12], [1]]), torch.tensor([[2.0]]), torch.tensor([[13.0], [14]])]
    assert joined(parts, batch).ravel().tolist() == [11, 13, 12, 14, 1, 2]


def test_embeddings_are_computed_once_for_all_visits() -> None:
    asked = []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        asked.append(len(pixels))
        return pixels[:, :1, :2, :2].half()

    make, embed = maker(visits=3), dense.remembered(encode)
    for number in range(8):
        batch = make(number)
        expected = joined([draw.pixels[:, :1, :2, :2].half() for draw in batch], batch)
        assert torch.equal(embed(batch), expected)
    assert len(asked) == 8 + 4  # four draws before the first step


@pytest.mark.parametrize(("pair_every", "visits"), [(0, 1), (1, 2)])
def test_a_few_steps_and_an_export(pair_every: int, visits: int, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, rate=1e-3)
    state = dense.start(schedule, 0, "cpu")
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    device = torch.device("cpu")
    loss = dense.batch_loss(dense.frozen_encoder(device), device, bfloat16=False)
    train(
        state, maker(pair_every, visits), loss, schedule, tmp_path / "checkpoint.pt", report_every=1
    )
    moved = {n for n, v in state.model.state_dict().items() if not torch.equal(v, before[n])}
    assert ("pair.4.bias" in moved) == bool(pair_every)
    assert any(name.startswith("stem") for name in moved)
    assert state.curve[-1]["loss"] > 0
    (tmp_path / "training.json").write_text(json.dumps({"parent": vars(dense.parent_of(1))}))
    record = dense.export(tmp_path, tmp_path)
    loaded = nano_dense.load(folder=tmp_path)
    assert loaded.spec.sha256 == record["weights_sha256"]
    loaded.spec.check_parent(find_model("nano@1"))
    average = from_checkpoint(tmp_path / "checkpoint.pt").network.state_dict()
    torch.testing.assert_close(loaded.network.state_dict()["stem.0.weight"],
                               average["stem.0.weight"].half().float())  # fmt: skip


def test_embeddings_are_those_of_the_cache() -> None:
    from volseg.models.registry import load_model

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), dtype=np.uint8)
    cached = load_model("nano@1").encode(pixels)["image"]
    encoded = dense.frozen_encoder(torch.device("cpu"), 1)(torch.from_numpy(pixels))
    assert encoded.dtype == torch.float16
    np.testing.assert_allclose(encoded.numpy(), cached, atol=2e-3)


def test_the_faster_precision_is_measured() -> None:
    device = torch.device("cpu")
    state = dense.start(Schedule(steps=1), 0, "cpu")

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(pixels), 128, 32, 32, dtype=torch.float16)

    found = dense.fastest_precision(state, encode, device)
    assert set(found.measured) == {"float32", "bfloat16"}
    assert all(p.grad is None for p in state.model.parameters())
    asked = dense.fastest_precision(state, encode, device, "float32")
    assert not asked.bfloat16


def test_no_checkpoint_and_no_length_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(NotThereError, match="no checkpoint"):
        from_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit):
        dense.main(["--out", str(tmp_path)])
    assert "--minutes or --steps" in capsys.readouterr().err
    assert dense.main(["--steps", "1", "--out", str(PROJECT / "run")]) == 1
    assert "inside the checkout" in capsys.readouterr().err
    assert dense.main(["--validate", "--checkpoint", str(tmp_path / "checkpoint.pt")]) == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert not (PROJECT / "run").exists()


def start(out: Path, data: Path, steps: int) -> subprocess.Popen[bytes]:
    arguments = f"--steps {steps} --tiles 2 --visits 2 --save-every 0"
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
