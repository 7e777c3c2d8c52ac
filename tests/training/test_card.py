"""Model cards say what the records beside the weights say, and the shipped ones are what the code makes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from volseg.errors import InputError, NotThereError
from volseg.models.nano import versions
from volseg.training.card import main, make_card
from volseg.training.figures import FIGURES, read_figures, write_figures
from volseg.training.weaknesses import weaknesses

SHA = "ab" * 32


def row(pick: float, box: float = 0.9, objects: int = 60, **others: float) -> dict[str, float]:
    usual = {"best": pick, "otsu": 0.1, "estimate": 0.5, "background": math.nan, "spearman": 0.8}
    return {"objects": objects, "pick": pick, "box": box, **usual, **others}


def figures(**parts: Any) -> dict[str, Any]:
    kinds = {"nuclei_dsb2018": row(0.8), "em_axon": row(0.4, 0.6), "mean over kinds": row(0.6)}
    usual = {
        "weights_sha256": SHA, "kinds": kinds, "spearman": 0.7, "lowest_spearman": ["em_axon", 0.5],
        "sizes": {}, "conditions": {}, "clicks": {}, "folds": {},
        "timings": {"encoder_ms": 50.0, "decoder_ms": 13.0, "decoder_ms_in_16": 9.0},
    }  # fmt: skip
    return usual | parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version with small records; its weights are never read."""
    made = tmp_path / "v7"
    made.mkdir()
    weights = {
        "file": "nano.pt", "sha256": SHA, "bytes": 5_000_000, "dtype": "float16", "parameters": 2_400_000,
        "encoder": "lite0", "img_size": 256, "embedding": [128, 32, 32], "object_size": 48,
    }  # fmt: skip
    training = {
        "weights_sha256": SHA, "seed": 3, "steps": 1200, "hours": 0.5, "device": "cuda", "sittings": [{}],
        "sources": {"em_axon": 3.0, "phase_usiigaci": 1.0, "synthetic_walls": 1.0},
        "prompts": {"point": 0.6, "box": 0.4},
        "parents": [{"name": "nano@1", "sha256": "cd" * 32}, {"name": "a trunk, Apache-2.0"}],
        "recipe": {"name": "lite0"},
    }  # fmt: skip
    (made / "weights.json").write_text(json.dumps(weights))
    (made / "training.json").write_text(json.dumps(training))
    write_figures(made / FIGURES, figures())
    return made


@pytest.mark.parametrize("version", versions.shipped_versions())
def test_every_shipped_card_is_what_the_code_makes_of_its_records(version: int) -> None:
    shipped = versions.version_folder(version)
    assert (shipped / versions.CARD).read_text("utf-8") == make_card(shipped)


def test_a_card_tells_weights_parents_shares_licences_and_what_was_not_measured(
    folder: Path,
) -> None:
    card = make_card(folder)
    assert card.startswith("# nano@7\n") and SHA in card
    words = " ".join(card.split())
    for said in (
        "`lite0`", "2.40 million parameters", "5.0 MB",
        "| em_axon | SEM of rat nerve, axons | 60.0% | MIT | ivadomed/data-testing |",
        "| synthetic_walls | made here | 20.0% |",
        f"nano@1 (SHA-256 `{'cd' * 32}`) and a trunk, Apache-2.0: 1,200 steps in 1 sitting, 0.5 hours",
        "none of these trained in any part: nuclei_dsb2018",
        "Not measured: clicks, folds.",
        "lowest of a kind with 50 objects or more 0.50 (em_axon)",
        "| nuclei_dsb2018 | 60 | 0.80 |",
    ):  # fmt: skip
        assert said in words, said
    (folder / "NOTES.md").write_text("## Notes\n\nIt was a rainy day.\n")
    clicks = {f"clicks_{n}": 0.5 + n / 30 for n in (1, 2, 3, 5, 9)}
    loose = {"loose_0": 0.8, "loose_10": 0.75, "loose_20": 0.6, "loose_30": 0.4}
    mean = {"objects": 4, **clicks, **loose}
    folds = {"phase: phase_usiigaci": row(0.3), "phase, mean": row(0.3)}
    write_figures(folder / FIGURES, figures(clicks={"mean over kinds": mean}, folds=folds))
    more = make_card(folder)
    assert more.endswith("## Notes\n\nIt was a rainy day.\n")
    assert (
        "| mean over kinds | 4 | 0.53 | 0.57 | 0.60 | 0.67 | 0.80 | 0.80 | 0.75 | 0.60 | 0.40 |"
        in more
    )
    assert "| phase: phase_usiigaci | 60 | 0.30 |" in more and "Not measured" not in more


def test_what_it_is_bad_at_is_found_in_the_figures() -> None:
    assert weaknesses(figures(kinds={"a": row(0.8), "mean over kinds": row(0.5)})) == []
    kinds = {
        "a": row(0.4, 0.6, best=0.5, otsu=0.45, spearman=0.2, background=0.4),
        "few": row(0.9, objects=3, spearman=-1.0),
    }
    sizes = {"8 to 16 px": row(0.5), "32 to 64 px": row(0.85), "64 to 128 px": row(0.8)}
    conditions = {"unchanged": row(0.8), "inverted": row(0.7), "one colour": row(0.8)}
    clicks = {
        "a": {"clicks_9": 0.7}, "mean over kinds": {"clicks_9": 0.8, "loose_0": 0.8, "loose_20": 0.6}
    }  # fmt: skip
    folds = {"phase: x": row(0.1), "phase, mean": row(0.2), "ct_mr, mean": row(0.7)}
    found = weaknesses(
        figures(kinds=kinds, sizes=sizes, conditions=conditions, clicks=clicks, folds=folds)
    )
    assert found == [
        "One click on: a 0.40 (under 0.60).",
        "Even the exact box of: a 0.60 (under 0.70).",
        "Otsu's threshold does better than one click on: a 0.45; the click gets 0.40.",
        "Choosing among its own candidates, by so much IoU: a 0.10.",
        "Objects that the model sees at a diameter of 8 to 16 px 0.50, where 32 to 64 px get 0.85: "
        "choose another zoom.",
        "Changed pictures: inverted 0.70, where unchanged ones get 0.80.",
        "Loose boxes: 20 % too far out on every side costs 0.20 (0.80 to 0.60).",
        "Being corrected: after nine clicks still a 0.70.",
        "Families of kinds that never trained: phase 0.20 from one click.",
        "Telling good masks from bad: the rank correlation of its score with the true IoU is a 0.20, "
        "over all objects 0.70.",
        "Clicks on background, which it scores a 0.40.",
    ]


def test_figures_are_json_that_others_read_and_come_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_figures(path, figures())
    json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    again = read_figures(path)
    assert math.isnan(again["kinds"]["em_axon"]["background"])
    assert again["lowest_spearman"] == ["em_axon", 0.5]
    assert again["kinds"]["em_axon"]["pick"] == 0.4


def test_a_card_of_other_weights_or_without_figures_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "MODEL_CARD.md")
    before = (folder / "MODEL_CARD.md").read_text()
    write_figures(folder / FIGURES, figures(weights_sha256="00" * 32))
    with pytest.raises(InputError, match="measure them"):
        main([str(folder)])
    (folder / FIGURES).write_text("[]")
    with pytest.raises(InputError, match="no record of a validation"):
        main([str(folder)])
    (folder / FIGURES).unlink()
    with pytest.raises(NotThereError, match=r"volseg\.training\.validate --clicks --json"):
        main([str(folder)])
    (folder / "training.json").write_text(json.dumps({"weights_sha256": "00" * 32}))
    with pytest.raises(InputError, match="is of weights 0000"):
        main([str(folder)])
    assert (folder / "MODEL_CARD.md").read_text() == before
