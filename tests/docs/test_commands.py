"""Every `bash` and `python` block of the documentation runs, in order, page by page, as a reader would run it.

A page runs in an empty folder beside `../shared/data`, with `volseg` on the path and, for `s3://`, a real server with a
bucket `lab-bucket`. `console` blocks are shown, not run: they are `make demo` and `make test`, which run this file.
"""

from __future__ import annotations

import json
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


README = PROJECT / "README.md"


class Reader:
    """Somebody who runs every block of a page in an empty folder beside the data."""

    def __init__(self, folder: Path, data: Path, server: S3Server) -> None:
        server.make_bucket("lab-bucket")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = os.environ | server.environment
        self._environment |= {"PATH": path, "PYTHONPATH": str(PROJECT)}
        self.place = folder / "project"
        self.place.mkdir()
        (folder / "shared").symlink_to(data.parent)

    def run(self, language: str, block: str) -> str:
        """Run one block, and return what it prints."""
        command = (
            ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        )
        done = subprocess.run(
            [*command, block],
            cwd=self.place,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def follow(self, page: Path) -> None:
        """Run all blocks of a page."""
        for language, block in BLOCK.findall(page.read_text("utf-8")):
            self.run(language, block)


@pytest.mark.parametrize(
    "page", PAGES_THAT_RUN, ids=lambda page: page.relative_to(PROJECT).as_posix()
)
def test_page(page: Path, tmp_path: Path, shared_data: Path, s3_server: S3Server) -> None:
    reader = Reader(tmp_path, shared_data, s3_server)
    reader.follow(page)
    if page == README:
        check_scores_of_the_readme(reader)


def check_scores_of_the_readme(reader: Reader) -> None:
    """The nuclei, one point each, come out far above a threshold, and as well as the page says."""
    block = next(one for _, one in BLOCK.findall(README.read_text("utf-8")) if "evaluate" in one)
    command = next(line for line in block.splitlines() if line.startswith("volseg evaluate"))
    scores = json.loads(reader.run("bash", f"{command} --json"))
    assert scores["baseline_otsu"]["mean_dice"] == pytest.approx(0.19, abs=0.03)
    assert scores["mean_dice"] > scores["baseline_otsu"]["mean_dice"]
    said = re.search(r"^mean Dice +([0-9.]+)  over (\d+) objects$", README.read_text("utf-8"), re.M)
    assert said
    assert scores["mean_dice"] == pytest.approx(float(said.group(1)), abs=0.05)
    assert len(scores["objects"]) == int(said.group(2))


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
