"""Folders of learned models: what may be written where, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volseg.errors import ExistsError, VolsegError
from volseg.models.folder import check_target, read_model, write_model


def test_nothing_of_others_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        for overwrite in (False, True):
            with pytest.raises(ExistsError, match="choose another folder"):
                check_target(str(place), "pixels", overwrite=overwrite)
    check_target(str(tmp_path / "new.model"), "pixels", overwrite=False)


def test_what_was_changed_afterwards_is_refused(tmp_path: Path) -> None:
    place = str(tmp_path / "m.model")
    write_model(place, "pixels", {"name": "m"}, {"trees.txt": b"one"}, overwrite=False)
    manifest, files = read_model(place, "pixels")
    assert files == {"trees.txt": b"one"} and manifest["kind"] == "pixels"
    with pytest.raises(ExistsError, match="give --overwrite"):
        check_target(place, "pixels", overwrite=False)
    with pytest.raises(ExistsError, match="something else"):
        check_target(place, "objects", overwrite=True)
    (tmp_path / "m.model" / "trees.txt").write_bytes(b"two")
    with pytest.raises(VolsegError):
        read_model(place, "pixels")
    changed = json.loads((tmp_path / "m.model" / "manifest.json").read_text()) | {"kind": "objects"}
    (tmp_path / "m.model" / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(VolsegError):
        read_model(place, "pixels")
