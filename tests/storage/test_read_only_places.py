"""Places that are read and not written: web servers of every kind, buckets without rights, what fsspec reads."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import volseg
from tests.storage.odd_server import OddServer, running
from volseg.errors import (
    AccessDeniedError,
    InputError,
    NoListingError,
    NotThereError,
    StorageError,
)
from volseg.images.create import create_volume
from volseg.images.image import Volume
from volseg.importing import import_volume
from volseg.storage import Store, open_store, parse_url

WHOLE = ((0, 4), (0, 40), (0, 48))
DATA = np.random.default_rng(0).integers(1, 250, (4, 40, 48)).astype(np.uint8)
DATA[:, :16, :16] = 0  # a chunk that is not stored


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one image of each version, and a sharded one; each with labels."""
    folder = tmp_path_factory.mktemp("web")
    kinds: dict[str, dict[str, Any]] = {
        "v5.zarr": {"ngff": "0.5"},
        "v4.zarr": {"ngff": "0.4"},
        "shards.zarr": {"ngff": "0.5", "shards": (4, 48, 48)},
    }
    for name, options in kinds.items():
        made = create_volume(
            folder / name, axes="zyx", shape=DATA.shape, dtype="u1", scale_um=(2, 1, 1),
            chunks=(4, 16, 16), **options,
        )  # fmt: skip
        made.write(WHOLE, DATA)
        volseg.open(folder / name).create_labels("cells").write_objects(WHOLE, DATA)
    np.save(folder / "a b#1.npy", DATA)
    shutil.make_archive(str(folder / "v5.zarr"), "zip", folder, "v5.zarr")
    shutil.make_archive(str(folder / "flat"), "zip", folder / "v4.zarr")
    (folder / "flat.zip").rename(folder / "flat.ozx")
    return folder


def check(volume: Volume) -> None:
    """The image and its labels read as they were written, here and after a journey to a worker."""
    for one in (volume, pickle.loads(pickle.dumps(volume))):
        np.testing.assert_array_equal(one.read(WHOLE), DATA)
        np.testing.assert_array_equal(one.labels["cells"].read(WHOLE), DATA)
    assert list(volume.labels) == ["cells"]
    assert volume.output_store.read_only
    with pytest.raises(InputError, match="labels_at"):
        volume.check_output()


@pytest.mark.parametrize("name", ["v5.zarr", "v4.zarr", "shards.zarr"])
@pytest.mark.parametrize(
    "ways", [{}, {"missing": 403}, {"missing": 200}, {"missing": 410}, {"ranges": False}, {"head": False}]
)  # fmt: skip
def test_web_servers(root: Path, name: str, ways: dict[str, Any]) -> None:
    with running(OddServer(root, **ways)) as server:
        volume = volseg.open(f"{server.url}/{name}")
        check(volume)
        assert volume.store.exists("0/c/9/9/9") is False
        key = next(iter(Store(root / name).list("0"))).key
        assert volume.store.exists(key)
        with pytest.raises(NoListingError, match="can't list"):
            volume.store.list_names()
        with pytest.raises((NotThereError, AccessDeniedError), match="exist"):
            volseg.open(f"{server.url}/nothing.zarr")


def test_web_servers_that_send_elsewhere(root: Path) -> None:
    with running(OddServer(root)) as there, running(OddServer(root, moved_to=there.url)) as here:
        check(volseg.open(f"{here.url}/v4.zarr"))


def test_a_web_server_that_wants_a_login(root: Path) -> None:
    with running(OddServer(root, refusal=(401, "Unauthorized"))) as server:
        with pytest.raises(AccessDeniedError, match="log in") as caught:
            volseg.open(f"{server.url}/v5.zarr")
        assert "AWS" not in str(caught.value)


def test_rights_that_end_are_no_empty_chunks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volseg.storage.presence.BELIEVED_S", 0.0)
    with running(OddServer(root, missing=403)) as server:
        volume = volseg.open(f"{server.url}/v5.zarr")
        check(volume)
        server.refusal = (403, "AccessDenied")
        with pytest.raises(AccessDeniedError):
            volume.read(WHOLE)


# --- S3 with few rights


@pytest.fixture
def bucket(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddServer]:
    """A bucket `web` at an endpoint of its own, which does not list and says 403 for what is missing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with running(OddServer(root.parent, missing=403)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


@pytest.mark.parametrize("name", ["v5.zarr", "v4.zarr", "shards.zarr"])
def test_a_bucket_that_cannot_be_listed(bucket: OddServer, root: Path, name: str) -> None:
    volume = volseg.open(f"S3://{root.name}/{name}")
    np.testing.assert_array_equal(volume.read(WHOLE), DATA)
    np.testing.assert_array_equal(volume.labels["cells"].read(WHOLE), DATA)
    with pytest.raises(NoListingError, match="s3:ListBucket"):
        volume.store.list_names()
    with pytest.raises(AccessDeniedError):
        open_store(volume.location)  # to write there, it must be listed


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "RequestTimeTooSkewed", "set this machine's clock"),
        (400, "ExpiredToken", "have expired"),
        (301, "PermanentRedirect", "another region.*AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "another region: eu-west-1"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", "AWS_REQUEST_PAYER"),
    ],
)
def test_refusals_are_told_as_what_they_are(
    bucket: OddServer, root: Path, status: int, code: str, words: str
) -> None:
    bucket.refusal = (status, code)
    with pytest.raises(StorageError, match=words):
        volseg.open(f"s3://{root.name}/v5.zarr")


def test_the_reader_pays(bucket: OddServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.payer = True
    with pytest.raises(AccessDeniedError, match="AWS_REQUEST_PAYER"):
        volseg.open(f"s3://{root.name}/v5.zarr")
    monkeypatch.setenv("AWS_REQUEST_PAYER", "true")
    assert volseg.open(f"s3://{root.name}/v5.zarr").shape == DATA.shape


# --- what fsspec reads


@pytest.fixture
def memory(root: Path) -> Iterator[str]:
    """The folder in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for file in (file for file in root.rglob("*") if file.is_file()):
        system.pipe_file(f"/lab/{file.relative_to(root)}", file.read_bytes())
    yield "memory://lab"
    system.rm("/lab", recursive=True)


@pytest.mark.parametrize("name", ["v5.zarr", "v4.zarr", "shards.zarr"])
def test_memory(memory: str, name: str) -> None:
    volume = volseg.open(f"{memory}/{name}/")
    check(volume)
    assert str(volume.location) == f"{memory}/{name}"
    assert volume.name == name
    files = Store(memory, read_only=True)
    assert name in files.list_names()
    assert files.sub(name).exists("labels") is False
    with pytest.raises(NotThereError):
        volseg.open(f"{memory}/nothing.zarr")


def test_archives_open_by_their_path(root: Path, tmp_path: Path) -> None:
    for name in ("v5.zarr.zip", "flat.ozx"):
        check(volseg.open(root / name))
        check(volseg.open(f"zip://::{root / name}"))
    check(volseg.open(f"zip://v5.zarr::{root / 'v5.zarr.zip'}"))
    assert volseg.open(root / "v5.zarr.zip").location.name == "v5.zarr"
    copy = import_volume(root / "flat.ozx", tmp_path / "copy.zarr")
    np.testing.assert_array_equal(copy.read(WHOLE), DATA)
    with pytest.raises(NotThereError):
        volseg.open(root / "nothing.ozx")
    (tmp_path / "damaged.ozx").write_bytes(b"PK\3\4 not a zip")
    with pytest.raises(StorageError, match=r"damaged\.ozx.*BadZipFile"):
        volseg.open(tmp_path / "damaged.ozx")
    with pytest.raises(InputError, match=r"can't be written|read only"):
        create_volume(tmp_path / "new.ozx", axes="yx", shape=(8, 8), dtype="u1", scale_um=(1, 1, 1))


def test_an_archive_on_a_web_server(root: Path) -> None:
    with running(OddServer(root)) as server:
        check(volseg.open(f"zip://v5.zarr::{server.url}/v5.zarr.zip"))


def test_files_are_imported_from_anywhere(memory: str, root: Path, tmp_path: Path) -> None:
    with running(OddServer(root)) as server:
        for i, url in enumerate((f"{memory}/a b#1.npy", f"{server.url}/a%20b%231.npy")):
            made = import_volume(url, tmp_path / f"{i}.zarr", axes="zyx")
            np.testing.assert_array_equal(made.read(WHOLE), DATA)


@pytest.mark.parametrize("scheme", ["gs", "abfs", "sftp"])
def test_a_missing_driver_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gcsfs", "adlfs", "paramiko", "fsspec.implementations.sftp"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    with pytest.raises(InputError, match=r"pip install 'volseg\[cloudfs\]'"):
        volseg.open(f"{scheme}://place/v.zarr")


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("gs://bucket/a/v.zarr/", "gs://bucket/a/v.zarr", "v.zarr"),
        ("GS://bucket", "gs://bucket", "bucket"),
        ("sftp://user@host:22/data/v.zarr", "sftp://user@host:22/data/v.zarr", "v.zarr"),
        ("github://org:repo@main/v.zarr", "github://org:repo@main/v.zarr", "v.zarr"),
        ("zip://in/v.zarr::/data/a.zip", "zip://in/v.zarr::file:///data/a.zip", "v.zarr"),
        ("zip://::S3://bkt//a.zip", "zip://::s3://bkt/a.zip", "a"),
        ("https://host/a.ozx", "zip://::https://host/a.ozx", "a"),
    ],
)
def test_normal_form(text: str, url: str, name: str) -> None:
    location = parse_url(text)
    assert (location.url, location.name) == (url, name)
    assert parse_url(location.url) == location
    below = location.joined("labels/cells")
    assert below.name == "cells"
    assert below.parent.parent.url.rstrip("/") == url.rstrip("/")


@pytest.mark.parametrize(
    "text",
    ["sftp://me:secret@host/x", "gopher://x", "zip://a::https://host/x.zip?secret=1", "gs://b/../x",
     "reference://secret?x", "zip://a::gopher://x"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)
