"""One client for a place, until what it was made from changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.s3_server import S3Server
from volseg.errors import AccessDeniedError
from volseg.storage import Store, parse_url
from volseg.storage.remote import open_obstore

PLACE = parse_url("s3://bucket/place")


def test_the_same_place_is_opened_once(s3_environment: S3Server) -> None:
    first = open_obstore(PLACE)
    assert open_obstore(parse_url("S3://bucket/place/")) is first
    assert open_obstore(parse_url("s3://bucket/place/below")) is not first
    assert open_obstore(PLACE, attempts=0) is not first
    web = parse_url("https://host/v.zarr")
    assert open_obstore(web) is open_obstore(web)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION"]
)
def test_another_environment_is_another_client(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = open_obstore(PLACE)
    monkeypatch.setenv(name, "http://127.0.0.1:1" if name == "AWS_ENDPOINT_URL" else "other")
    assert open_obstore(PLACE) is not first


def test_rights_that_were_taken_are_gone_at_the_next_opening(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(f"{s3_url}/place").put("key", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessDeniedError):
        Store(f"{s3_url}/place").get("key")


def test_a_profile_is_asked_anew(
    s3_environment: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its credentials may have been renewed meanwhile."""
    keys = tmp_path / "credentials"
    keys.write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = b\n")
    for known in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(known)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert open_obstore(PLACE) is not open_obstore(PLACE)


def test_another_process_has_its_own(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_obstore(PLACE)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert open_obstore(PLACE) is not first
