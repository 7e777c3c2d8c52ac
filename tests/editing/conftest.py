"""Label images to edit, on either back end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.editing.making import make_labels, quick_folder
from volseg.images.labels import Labels


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder that is quick to sync."""
    path = quick_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def labels(folder: str) -> Labels:
    """A label image in a folder."""
    return make_labels(folder)


@pytest.fixture
def anywhere(work_url: str) -> Labels:
    """A label image in a folder, and one on S3."""
    return make_labels(work_url)
