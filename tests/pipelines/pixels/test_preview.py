"""The live preview: what apply would say, at once, and never an older answer after a newer question."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

import volseg
from tests.pipelines.pixels.conftest import SHAPE, WHOLE, Striped, make_volume, squares, write
from volseg.errors import InputError
from volseg.features.filters.bank import FilterBank

VIEW = {"z": 3, "rows": (0, SHAPE[1]), "columns": (20, SHAPE[2])}


def test_it_sees_what_a_job_would_write(striped: Striped) -> None:
    result = volseg.pixels.train([(striped.volume, "scribbles")], embedding="none")
    assert result.place is None
    with volseg.pixels.Preview(striped.volume, "scribbles", embedding="none") as preview:
        seen = preview.request(**VIEW).result()
        assert (seen.classes == striped.truth[3, :, 20:]).mean() > 0.95
        assert seen.probabilities.shape == (2, SHAPE[1], SHAPE[2] - 20)
        np.testing.assert_allclose(seen.probabilities.sum(axis=0), 1, atol=1e-5)
        assert seen.entropy.min() >= 0 and seen.entropy.max() <= 1


def test_a_newer_request_cancels_an_older_one(
    striped: Striped, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, honest = threading.Event(), threading.Event(), FilterBank.apply

    def slow(self: FilterBank, plane: np.ndarray) -> np.ndarray:
        begun.set()
        may_end.wait(30)
        return honest(self, plane)

    monkeypatch.setattr(FilterBank, "apply", slow)
    with volseg.pixels.Preview(striped.volume, "scribbles", embedding="none") as preview:
        old = preview.request(**VIEW)
        assert begun.wait(30)
        newest = [preview.request(**{**VIEW, "z": z}) for z in (1, 2, 4)]
        may_end.set()
        assert newest[-1].result(60).z == 4
        for request in (old, *newest[:-1]):
            with pytest.raises(CancelledError):
                request.result(60)


def test_new_strokes_change_it_and_features_that_were_seen_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = squares()
    volume = make_volume(str(tmp_path / "a.zarr"), image)
    labels = volume.create_labels("s", classes={})
    strokes = np.zeros(SHAPE, np.uint32)
    strokes[2, 10, 10:30] = 1
    write(labels, strokes)
    with volseg.pixels.Preview(volume, "s", embedding="none") as preview:
        with pytest.raises(InputError, match="two classes"):
            preview.request(**VIEW).result()
        strokes[2, 10, 50:70] = 2
        write(labels, strokes)
        first = preview.request(**VIEW).result()
        with pytest.raises(InputError, match="inside"):
            preview.request(3, (0, 9999), (0, 10)).result()
        monkeypatch.setattr(FilterBank, "apply", None)  # not called again
        assert (preview.request(**VIEW).result().classes == first.classes).all()
        strokes[2, 10, 10:30], strokes[2, 10, 50:70] = 2, 1
        write(labels, strokes)
        assert (preview.request(**VIEW).result().classes == first.classes).mean() < 0.1
    assert labels.read(WHOLE).any()
