"""Every `bash` and `python` block of the documentation runs, in order, page by page, as a reader would run it.

A page runs in an empty folder beside `../shared/data`, with `volseg` on the path and, for `s3://`, a real server with a
bucket `lab-bucket`. `console` blocks are shown, not run: they are `make demo` and `make test`, which run this file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.s3_server import S3Server

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.M | re.S)
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
PAGES_THAT_RUN = [
    page for page in PAGES if page.is_file() and BLOCK.search(page.read_text("utf-8"))
]


@pytest.mark.parametrize(
    "page", PAGES_THAT_RUN, ids=lambda page: page.relative_to(PROJECT).as_posix()
)
def test_page(page: Path, tmp_path: Path, shared_data: Path, s3_server: S3Server) -> None:
    s3_server.make_bucket("lab-bucket")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | s3_server.environment | {"PATH": path, "PYTHONPATH": str(PROJECT)}
    place = tmp_path / "project"
    place.mkdir()
    (tmp_path / "shared").symlink_to(shared_data.parent)
    for language, block in BLOCK.findall(page.read_text("utf-8")):
        command = (
            ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        )
        done = subprocess.run(
            [*command, block],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def test_every_page_is_in_the_menu_and_every_link_leads_somewhere() -> None:
    menu = (PROJECT / "mkdocs.yml").read_text("utf-8")
    for page in sorted((PROJECT / "docs").rglob("*.md")):
        name = page.relative_to(PROJECT / "docs").as_posix()
        assert name in menu, f"{name} is missing in mkdocs.yml"
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").is_file()
