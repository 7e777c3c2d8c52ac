"""Fixtures that every room shares: real data, a real S3 server that checks credentials, places on both back ends."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server

PROJECT = Path(__file__).resolve().parent.parent
LONGEST = (PROJECT / "tests" / "test_whole_way.py", PROJECT / "tests" / "docs" / "test_commands.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what takes many minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # the longest first, so that of two processes neither waits for the other at the end
    items.sort(key=lambda item: item.path not in LONGEST)
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long mode: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the user's own settings, credentials and caches."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    patch.setenv("PREFECT_HOME", str(home / "prefect"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real volumes with truth; tests that need it skip where it is missing."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def s3_server(_own_home: None) -> Iterator[S3Server]:
    """One moto server for the session, in a process of its own, that checks signatures."""
    server = S3Server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The AWS environment variables of the server, for this process and its children."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_url(s3_environment: S3Server) -> str:
    """A fresh, empty bucket as `s3://bucket`."""
    return f"s3://{s3_environment.make_bucket('b-' + uuid.uuid4().hex[:12])}"


@pytest.fixture(params=["folder", "s3"])
def work_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place to write, once as a local folder and once on S3; append `/name.zarr`."""
    if request.param == "folder":
        return str(tmp_path / "work")
    return str(request.getfixturevalue("s3_url"))
