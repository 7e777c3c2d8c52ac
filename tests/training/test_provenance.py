"""Every sitting of a training is on record, with the code that it ran."""

from __future__ import annotations

import json
from pathlib import Path

from volseg.training.provenance import code_version, record_sitting


def test_sittings_add_up_and_a_repeated_start_replaces(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    record_sitting(path, {"seed": 1, "hours": 1}, 0)
    record_sitting(path, {"seed": 1, "hours": 2}, 40)
    record_sitting(path, {"seed": 1, "hours": 3}, 40)
    record = json.loads(path.read_text())
    assert record["hours"] == 3
    assert [sitting["from_step"] for sitting in record["sittings"]] == [0, 40]
    assert [sitting["hours"] for sitting in record["sittings"]] == [1, 3]


def test_the_codes_version_is_of_its_sources_and_names_no_path() -> None:
    version = code_version()
    assert len(version["sources_sha256"]) == 64
    assert version == code_version()
    assert "/" not in json.dumps(version)
