"""What stands in the way is told as one class of error that names the place and the way out."""

from __future__ import annotations

import errno
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server
from tests.web_server import WebServer
from volseg.errors import (
    AccessDeniedError,
    InputError,
    NotThereError,
    StorageError,
    StorageFullError,
)
from volseg.storage import Store, open_store


def test_missing_bucket_is_named(s3_environment: S3Server) -> None:
    with pytest.raises(NotThereError, match="bucket 'no-such-bucket'"):
        open_store("s3://no-such-bucket/x", create=True)
    store = Store("s3://no-such-bucket/x")
    for operation in (
        lambda: store.put("k", b""),
        lambda: store.put_new("k", b""),
        lambda: store.get("k"),
        lambda: list(store.list()),
        lambda: store.list_names(),
        lambda: store.delete("k"),
    ):
        with pytest.raises(NotThereError, match="no-such-bucket"):
            operation()


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(s3_url: str, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "WRONG-wrong-wrong")
    with pytest.raises(AccessDeniedError, match="AWS_ACCESS_KEY_ID") as caught:
        open_store(s3_url)
    assert "wrong-wrong" not in str(caught.value).lower()
    store = Store(s3_url)
    for operation in (lambda: store.put("k", b""), lambda: store.get("k"), lambda: store.head("k")):
        with pytest.raises(AccessDeniedError):
            operation()


def test_missing_credentials(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDeniedError, match="AWS_SECRET_ACCESS_KEY is not"):
        open_store(s3_url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessDeniedError, match="no credentials"):
        open_store(s3_url)


def test_profile_gives_keys_region_and_endpoint(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = s3_server.environment
    (tmp_path / "credentials").write_text(
        "[lab]\n"
        f"aws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {keys['AWS_ENDPOINT_URL']}\n"
    )
    for name in keys:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = open_store(s3_url)
    store.put_new("k", b"v")
    assert store.get("k") == b"v"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match="nobody"):
        open_store(s3_url)


def test_endpoint_that_is_no_address(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL"):
        open_store(s3_url)


def test_dead_endpoint_fails_past_its_retries(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volseg.storage.remote.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = Store(s3_url)
    for operation in (lambda: store.get("k"), lambda: store.put_new("k", b"")):
        with pytest.raises(StorageError, match="past its retries"):
            operation()


def test_missing_folder_and_file_instead_of_folder(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="does not exist"):
        open_store(tmp_path / "no")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotThereError, match="is a file"):
        open_store(tmp_path / "file")
    with pytest.raises(NotThereError, match="is a file"):
        Store(tmp_path / "file" / "below").put("k", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_forbidden_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AccessDeniedError, match="permissions"):
            Store(tmp_path).put("k", b"")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_the_old_version_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = Store(tmp_path / "place")
    store.put("k", b"old")

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("volseg.storage.local._write", full)
    for operation in (
        lambda: store.put("k", b"new"),
        lambda: store.put_new("other", b"new"),
    ):
        with pytest.raises(StorageFullError, match="no space left"):
            operation()
    monkeypatch.undo()
    assert store.get("k") == b"old"
    assert os.listdir(tmp_path / "place") == ["k"]


def test_zarr_access_raises_the_same_errors(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import zarr

    array = zarr.create_array(Store(s3_url).sub("a").zarr(), shape=(4,), chunks=(2,), dtype="u1")
    array[:] = 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    view = Store(s3_url).sub("a").zarr()
    with pytest.raises(AccessDeniedError):
        zarr.open_array(view, mode="r", zarr_format=3)


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "web"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    server = WebServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_web_is_read_only_and_unlisted(web_folder: tuple[str, Path]) -> None:
    url, folder = web_folder
    (folder / "a b").mkdir()
    (folder / "a b" / "k").write_bytes(b"v")
    store = open_store(f"{url}/a b")
    assert store.read_only
    assert store.get("k") == b"v"
    assert store.get_or_none("no") is None
    head = store.head("k")
    assert head is not None
    assert head.size == 1
    for operation in (lambda: store.put("k", b""), lambda: store.delete("k")):
        with pytest.raises(InputError, match="read only"):
            operation()
    with pytest.raises(InputError, match="can't list"):
        store.list_names()


def test_volumes_are_read_from_the_web(web_folder: tuple[str, Path]) -> None:
    import numpy as np

    from volseg.images.create import create_volume
    from volseg.images.image import open_volume

    url, folder = web_folder
    made = create_volume(
        folder / "v.zarr", axes="zyx", shape=(4, 8, 8), dtype="u1", scale_um=(1, 1, 1)
    )
    region = ((0, 4), (0, 8), (0, 8))
    made.write(region, np.full((4, 8, 8), 3))
    made.create_labels("cells")
    volume = open_volume(f"{url}/v.zarr")
    assert (volume.read(region) == 3).all()
    assert list(volume.labels) == ["cells"]
    with pytest.raises(InputError, match="labels-at"):
        volume.create_labels("more")
    with pytest.raises(NotThereError):
        open_volume(f"{url}/nothing.zarr")
