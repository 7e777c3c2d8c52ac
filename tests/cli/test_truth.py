"""What the command line says of runs and edits is true."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.engine.cancel import Cancel
from volseg.errors import InterruptedRunError
from volseg.pipelines.segmentation import make_plan, run

Volseg = Callable[..., Said]


def test_labels_of_an_interrupted_run_are_told_until_it_is_finished(
    volseg: Volseg, tmp_path: Path
) -> None:
    truth = make_truth((8, 40, 40), 1, seed=8)
    volume = make_volume(str(tmp_path / "v.zarr"), truth)
    plan = make_plan(volume, point_prompts(truth), labels="cells", model=oracle(volume))
    cancel = Cancel()

    def stop(stage: str, *_: object) -> None:
        if stage == "compose":
            cancel.request()

    with pytest.raises(InterruptedRunError):
        run(plan, cancel=cancel, progress=stop)
    url, out = str(volume.location), tmp_path / "o.csv"
    commands = {
        "export": ["export", url, "cells", "--format", "csv", "--out", str(out), "--overwrite"],
        "evaluate": ["evaluate", url, "cells", "--truth", f"{url}/labels/truth"],
    }
    for command in commands.values():
        said = volseg(*command)
        assert said.status == 0, said
        assert "interrupted" in said.err
        assert "--resume" in said.err
    assert "the last run is interrupted" in volseg("info", url).out
    assert "interrupted" not in volseg("export", url, "truth", "--out", tmp_path / "t.csv").err
    run(plan, resume=True)
    for command in commands.values():
        assert "warning" not in volseg(*command).err
    assert "may be incomplete" not in volseg("info", url).out


def test_history_names_objects_and_classes(volseg: Volseg, tmp_path: Path) -> None:
    truth = make_truth((4, 40, 40), 1, seed=8)
    volume = make_volume(str(tmp_path / "v.zarr"), truth)
    with volume.labels["truth"].edit(annotator="ann", flush_after=None) as editor:
        editor[0, :2, :4] = 7
        editor.set_class(7, "nucleus")
        editor.flush()
        editor.delete(7)
    said = volseg("history", volume.location, "truth")
    assert "7 +8" in said.out
    assert "7 no class → nucleus" in said.out
    assert "7 -8 nucleus → no class" in said.out
    facts = json.loads(volseg("history", volume.location, "truth", "--json").out)
    assert facts[1]["classes"] == {"7": [None, "nucleus"]}


def test_an_interrupt_before_the_run_says_how_to_go_on(
    volseg: Volseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = make_volume(str(tmp_path / "v.zarr"), make_truth((4, 40, 40), 1, seed=8))
    monkeypatch.setattr(
        "volseg.pipelines.segmentation.make_plans",
        lambda *_, **__: os.kill(os.getpid(), signal.SIGINT),
    )
    said = volseg("segment", volume.location, "--prompts", "p.json")
    assert said.status == 130
    assert len(said.err.splitlines()) == 1
    assert "--resume" in said.err
