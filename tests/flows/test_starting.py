"""What a flow needs to start: a home that Prefect can write, and the server that its settings name."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.starting import check_server, start
from tests.conftest import PROJECT
from volseg.cli.prefect_home import prefect_home
from volseg.errors import InputError


def test_a_good_home_is_used(tmp_path: Path) -> None:
    with prefect_home({"PREFECT_HOME": str(tmp_path / "new")}) as places:
        assert places is None
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


@pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null", "~nobody-of-this-name/x"])
def test_a_home_that_cant_be_written_is_replaced_for_once(home: str) -> None:
    with prefect_home({"PREFECT_HOME": home}) as places:
        assert places is not None
        assert places[0] == home
        assert Path(places[1]).is_dir()
    assert not Path(places[1]).exists()


def test_a_flow_says_at_once_where_prefect_lives() -> None:
    program = "import flows, os; print(os.environ['PREFECT_HOME'])"
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"HOME": "/proc/nohome"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    place = Path(done.stdout.strip())
    assert str(place) in done.stderr
    assert "PREFECT_HOME" in done.stderr
    assert not place.exists()  # gone with the program


class Page(http.server.BaseHTTPRequestHandler):
    """A web page for whatever is asked, as Prefect's own window answers outside /api."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_a_dead_server_is_told_in_seconds() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(InputError, match=r"127\.0\.0\.1:9/api.*prefect server start"),
    ):
        check_server()


def test_an_address_without_api_is_told(page: str) -> None:
    with (
        temporary_settings({PREFECT_API_URL: page}),
        pytest.raises(InputError, match="ends with /api"),
    ):
        check_server()


def test_an_unforeseen_error_of_a_flow_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError("boom")

    assert start("segment", fail, []) == 2
    assert capsys.readouterr().err.startswith("volseg: unforeseen RuntimeError: boom")
