"""The zoom in the plugin: decided once per label image beside the window, without encoding twice what a click needs."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.found_zooms import FoundZooms
from napari_plugin.interactive import Choice, InteractivePredictor
from napari_plugin.prompting import Prompting
from napari_plugin.session import Session
from napari_plugin.slicing import SliceModel
from tests.napari_plugin.places import Threshold, discs, make_volume
from tests.napari_plugin.test_prompting import eventually
from volseg.images.image import open_volume
from volseg.models.registry import find_model
from volseg.prompts import PromptedObject
from volseg.propagation import SlicePrompt

CELLS, NUCLEI = ("v.zarr", "cells"), ("v.zarr", "nuclei")


def clicked(y: float, x: float, z: int = 1) -> PromptedObject:
    return PromptedObject.model_validate({"id": 1, "prompts": [{"z": z, "points": [[y, x, 1]]}]})


def test_each_label_image_is_looked_at_once() -> None:
    zooms = FoundZooms()
    assert zooms.begin() is None and zooms.known == "auto" and zooms.number == 1.0
    zooms.look_at(CELLS)
    ticket = zooms.begin()
    assert ticket is not None and zooms.begin() is None  # somebody looks already
    assert zooms.end(ticket, 2.0) and zooms.known == 2.0 and zooms.begin() is None
    zooms.look_at(NUCLEI)
    assert zooms.known == "auto"
    failed = zooms.begin()
    assert failed is not None and not zooms.end(failed, None)
    assert zooms.is_open  # the next prompt tries again
    zooms.look_at(CELLS)
    assert zooms.known == 2.0


def test_a_number_or_another_model_voids_what_is_being_looked_for() -> None:
    zooms = FoundZooms()
    zooms.look_at(CELLS)
    first = zooms.begin()
    zooms.ask(3.0, anew=False)
    assert first is not None and not zooms.end(first, 2.0) and zooms.known == 3.0
    zooms.ask("auto", anew=False)
    old = zooms.begin()
    zooms.ask("auto", anew=True)
    new = zooms.begin()
    assert old is not None and new is not None
    assert not zooms.end(old, 4.0) and zooms.known == "auto"
    assert zooms.end(new, 0.5) and zooms.number == 0.5


def test_choices_go_through_json_whether_the_zoom_is_known_or_not() -> None:
    for choice in (Choice(zoom=2.0), Choice(channel=(0, 1)), Choice(zoom="auto", time=3)):
        assert Choice.from_json(choice.to_json()) == choice
    assert Choice.from_json({"zoom": None}).zoom == "auto"


def test_a_model_without_zoom_leaves_it_at_one() -> None:
    model = SliceModel(lambda: Threshold(discs()), rest_s=0.05)
    assert model.fit([clicked(20, 22)]).result(20) == 1.0
    model.close()


def test_the_click_after_the_zoom_is_found_needs_no_more_embeddings(tmp_path: Path) -> None:
    if not find_model("nano").path.is_file():
        pytest.skip("nano's weights are not there")
    y, x = np.mgrid[:300, :300]
    plane = np.where((y % 30 - 15) ** 2 + (x % 30 - 15) ** 2 < 30, 200, 30).astype(np.uint8)
    url = str(tmp_path / "v.zarr")
    make_volume(url, np.stack([plane] * 3))
    predictor = InteractivePredictor(open_volume(url), Choice(), threads=1)
    encoded = []
    encode = predictor.model.encode

    def counted(images: np.ndarray) -> np.ndarray:
        encoded.append(len(images))
        return encode(images)

    predictor.model.encode = counted  # type: ignore[method-assign]
    prompt = SlicePrompt(np.array([[135.0, 135.0]]), np.array([1]))
    predictor.predict(1, [prompt])
    assert sum(encoded) == 1
    zoom = predictor.fit([clicked(135, 135)])
    assert (
        zoom > 1 and 1 <= sum(encoded[1:]) <= 2
    )  # a tile at each zoom that it looks at; that at 1 was there
    before = len(encoded)
    found = predictor.predict(1, [prompt])[0]
    assert len(encoded) == before
    assert found.masks[int(np.argmax(found.scores))].sum() < 300
    assert predictor.tiles(None)[0].size == round(256 / zoom)


def test_what_is_marked_is_asked_again_unless_a_person_chose(tmp_path: Path) -> None:
    volume = make_volume(str(tmp_path / "v.zarr"))
    volume.create_labels("cells")
    session = Session(open_volume(str(tmp_path / "v.zarr")), "annotator-1")
    predictor = Threshold(discs())
    prompting = Prompting(session.editing("cells"), SliceModel(lambda: predictor, rest_s=9.0))
    prompting.book.ready.result(20)
    told: list[object] = []
    prompting.answered.connect(lambda marks, place: told.append((marks.points, place)))
    prompting.look_at(2)
    prompting.ask_again()  # nothing is marked
    prompting.add_point(20, 22)
    eventually(lambda: told)
    assert told == [(((20.0, 22.0, 1),), (0, 2))] and predictor.asked == [2]
    prompting.ask_again()
    assert prompting.shown.mask is not None  # what is shown stays meanwhile
    eventually(lambda: predictor.asked == [2, 2])
    eventually(lambda: len(told) == 2)
    prompting.cycle()
    prompting.ask_again()
    done = prompting.accept()
    assert isinstance(done, Future)
    done.result(20)
    prompting.ask_again()  # accepted: nothing is marked any more
    assert predictor.asked == [2, 2]
    prompting.model.close()
    session.close()
