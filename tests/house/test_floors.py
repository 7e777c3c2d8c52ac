"""The house stands as docs/architecture.md says: rooms import only from rooms below, and light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT


def source_files() -> Iterator[Path]:
    for top in ("volseg", "flows", "napari_plugin"):
        yield from sorted((PROJECT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_a_room_imports_only_from_below() -> None:
    """The contracts of pyproject.toml hold: floors, no circles, and what the library must not know."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("what", "stays_out"),
    [
        ("import volseg", ["numpy", "torch", "dask", "zarr"]),
        (
            "import volseg.storage, volseg.images, volseg.prompts",
            ["torch", "distributed", "prefect"],
        ),
        ("import volseg.cli", ["torch", "distributed", "prefect", "skimage"]),
        ("import volseg.pipelines.segmentation", ["torch", "prefect"]),
        ("import volseg.models.registry", ["torch"]),
    ],
)
def test_light_imports_stay_light(what: str, stays_out: list[str]) -> None:
    program = f"import sys; {what}; print([n for n in {stays_out!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_package_starts_with_its_purpose() -> None:
    silent = [
        module_name(path)
        for path in source_files()
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == []
