"""The model in a process of its own: the same answers, errors as themselves, and a new process where one has died."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.interactive import Choice
from napari_plugin.modelprocess import ModelGoneError, ModelProcess
from napari_plugin.slicing import SliceModel
from tests.napari_plugin.places import discs, make_volume
from volseg.errors import NotThereError, UnknownModelError
from volseg.models.registry import find_model
from volseg.propagation import SlicePrompt


def test_errors_come_as_themselves(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="nowhere"):
        ModelProcess(str(tmp_path / "nowhere.zarr"), None, Choice())
    make_volume(str(tmp_path / "v.zarr"))
    with pytest.raises(UnknownModelError, match="no-such-model"):
        ModelProcess(str(tmp_path / "v.zarr"), None, Choice("no-such-model"))


def test_a_process_answers_and_one_that_died_is_replaced(tmp_path: Path) -> None:
    if not find_model("nano").path.is_file():
        pytest.skip("nano's weights are not there")
    url = str(tmp_path / "v.zarr")
    make_volume(url)
    made: list[ModelProcess] = []

    def opened() -> ModelProcess:
        made.append(ModelProcess(url, None, Choice(zoom=2.0)))
        return made[-1]

    model = SliceModel(opened, rest_s=0.0)
    prompt = SlicePrompt(np.array([[44.0, 55.0]]), np.array([1]))
    found = model.ask(1, 3, {1: {3: prompt}}).result(300)
    truth = discs()[3] == 170
    mask = found[0].mask.full((64, 80))
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    tile = made[0].tiles(None)[0]
    assert not made[0].embed(3, tile) and made[0].embed(4, tile)

    os.kill(made[0]._process.pid, signal.SIGKILL)
    made[0]._process.wait(20)
    with pytest.raises(ModelGoneError, match="ended with status"):
        model.ask(1, 3, {1: {3: prompt}}).result(300)
    again = model.ask(1, 3, {1: {3: prompt}}).result(300)
    assert len(made) == 2 and again[0].mask.same(found[0].mask)
    model.close(60)
    end = time.monotonic() + 30
    while not made[1].gone and time.monotonic() < end:
        time.sleep(0.05)
    assert made[1].gone
