"""napari in the tests: its settings in a folder of their own, and a skip where no window can open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "napari.yaml"))
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb: deploy/debian-packages.sh installs it on Debian")
