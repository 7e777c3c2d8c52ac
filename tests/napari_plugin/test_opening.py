"""Where volumes are opened from: browsing, remembered places, what is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_plugin.opening import (
    MOST_PLACES,
    Place,
    Places,
    browse,
    checked,
    describe,
    is_volume,
    parent_of,
    profiles,
)
from tests.napari_plugin.places import make_volume
from volseg.errors import InputError, NotThereError
from volseg.storage.objects import open_store


def test_places_are_remembered_newest_first_without_doubles(tmp_path: Path) -> None:
    places = Places(tmp_path / "a" / "places.json")
    assert places.all() == []
    for i in range(MOST_PLACES + 5):
        places.remember(Place(f"s3://bucket/{i}.zarr", profile="lab"))
    places.remember(Place("s3://bucket/20.zarr", endpoint="http://host:1"))
    found = Places(tmp_path / "a" / "places.json").all()
    assert len(found) == MOST_PLACES and found[0].endpoint == "http://host:1"
    assert [one.url for one in found].count("s3://bucket/20.zarr") == 1
    places.forget("s3://bucket/20.zarr")
    assert places.all()[0].url == "s3://bucket/24.zarr"
    (tmp_path / "a" / "places.json").write_text("{")
    assert places.all() == []


def test_browsing_lists_volumes_first_then_folders(work_url: str) -> None:
    volume = make_volume(f"{work_url}/lab/brain.zarr")
    open_store(f"{work_url}/lab", create=True).put("notes/readme.txt", b"x")
    open_store(f"{work_url}/lab").put("table.csv", b"x")
    entries = browse(f"{work_url}/lab")
    shown = [(one.name, one.is_volume) for one in entries]
    assert shown[:2] == [("brain.zarr", True), ("notes", False)]
    assert is_volume(entries[0].url) and not is_volume(f"{work_url}/lab/notes")
    assert parent_of(f"{work_url}/lab") == work_url
    assert "10 × 64 × 80 voxels" in describe(volume)
    with pytest.raises(NotThereError):
        browse(str(Path("/no/such/folder")))


def test_a_bucket_is_its_own_parent_and_the_web_lists_nothing() -> None:
    assert parent_of("s3://bucket") == "s3://bucket"
    assert parent_of("s3://bucket/a/b.zarr") == "s3://bucket/a"
    with pytest.raises(InputError, match="can't list"):
        browse("https://host/data")


def test_what_is_typed_is_checked(tmp_path: Path) -> None:
    assert checked(Place("  s3://b1c/x.zarr ", " ", None, "")) == Place("s3://b1c/x.zarr")
    for wrong in (Place(""), Place("gopher://x/y"), Place("/x", endpoint="host:1")):
        with pytest.raises(InputError):
            checked(wrong)


def test_profiles_are_names_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[default]\nregion=x\n[profile lab]\nregion=x\n")
    (tmp_path / "credentials").write_text("[lab]\naws_secret_access_key=hidden\n[other]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert profiles() == ["default", "lab", "other"]
