"""Locations: one normal form for what people type, and names that can't climb."""

from __future__ import annotations

from pathlib import Path

import pytest

from volseg.errors import InputError, NameRefusedError
from volseg.storage import check_name, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a/b.zarr", "s3://bucket/a/b.zarr"),
        ("S3://bucket//a/b.zarr/", "s3://bucket/a/b.zarr"),
        ("s3://bucket", "s3://bucket"),
        ("https://host/data/x.zarr/", "https://host/data/x.zarr"),
        ("https://host:8080/a b.zarr", "https://host:8080/a%20b.zarr"),
        ("/data/x.zarr", "file:///data/x.zarr"),
        ("/data/../other/x y.zarr", "file:///other/x%20y.zarr"),
        ("file:///data/x%20y.zarr", "file:///data/x%20y.zarr"),
        ("file:/data/x%20y.zarr", "file:///data/x%20y.zarr"),  # as Java writes them
    ],
)
def test_normal_form(text: str, url: str) -> None:
    location = parse_url(text)
    assert location.url == url
    assert parse_url(url) == location == parse_url(location)


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_url("x.zarr").local_path == tmp_path / "x.zarr"
    assert parse_url(Path("x.zarr")) == parse_url("x.zarr")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_url("~/x.zarr").local_path == tmp_path / "x.zarr"


def test_parts(tmp_path: Path) -> None:
    s3 = parse_url("s3://bucket/a/b 1.zarr")
    assert (s3.bucket, s3.key, s3.name, s3.local_path) == ("bucket", "a/b 1.zarr", "b 1.zarr", None)
    assert (s3 / "labels" / "cells").url == "s3://bucket/a/b 1.zarr/labels/cells"
    assert parse_url("s3://bucket").name == "bucket"
    local = parse_url(tmp_path / "100% ü.zarr")
    assert local.local_path == tmp_path / "100% ü.zarr"
    assert local.name == "100% ü.zarr"
    assert str(local) == str(tmp_path / "100% ü.zarr")
    assert (local / "0").local_path == tmp_path / "100% ü.zarr" / "0"


@pytest.mark.parametrize(
    "text",
    ["", "  ", "gopher://bucket/x", "s3://", "s3:/bucket/x.zarr", "https:/host/x.zarr", "s3:///key",
     "s3://bucket/../other", "s3://bucket/a\nb",
     "https://user:secret@host/x", "https://host/x?token=1", "https:///x", "file://host/x", "a\0b"],
)  # fmt: skip
def test_refused_urls(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["cells", "Zellkerne ä", "a.b-c_d", "0", "x" * 200])
def test_good_names(name: str) -> None:
    assert check_name(name, "label image") == name
    assert (parse_url("s3://bucket") / name).name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", " a", "a ", "__a", "zarr.json", "a#1", "a%2fb",
     "a?b", "x" * 201, "\ud800", "\u202eevil"],
)  # fmt: skip
def test_refused_names(name: str) -> None:
    with pytest.raises(NameRefusedError, match="label image name"):
        check_name(name, "label image")
    with pytest.raises(NameRefusedError):
        parse_url("/data") / name
