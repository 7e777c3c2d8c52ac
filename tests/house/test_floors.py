"""The house stands as docs/architecture.md says: rooms import only from rooms below, and light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FLOORS = [
    {"volseg.errors", "volseg.geometry", "volseg.processes", "volseg.progress"},
    {"volseg.store"},
    {"volseg.volume"},
    {"volseg.sam", "volseg.embeddings", "volseg.prompts"},
    {
        "volseg.propagation",
        "volseg.editing",
        "volseg.importing",
        "volseg.exporting",
        "volseg.evaluation",
        "volseg.training",
    },
    {"volseg.jobs", "volseg.cloud"},
    {"volseg.cli", "volseg.demo", "flows", "napari_plugin"},
]


DOORS = {("volseg.volume.labels", "volseg.editing")}
"""Where a room may look up, when called: `labels.edit()` opens the editor."""


def room_and_floor(module: str) -> tuple[str, int] | None:
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(room + "."):
                return room, floor
    return None


def source_files() -> Iterator[Path]:
    for top in ("volseg", "flows", "napari_plugin"):
        yield from sorted((PROJECT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, only_types_too: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.If)
            and "TYPE_CHECKING" in ast.dump(node.test)
            and not only_types_too
        ):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_a_room_imports_only_from_below(path: Path) -> None:
    here = room_and_floor(module_name(path))
    if here is None:  # volseg/__init__.py and __main__.py are the door, not a room
        assert module_name(path) in ("volseg", "volseg.__main__")
        return
    room, floor = here
    for imported in imports_of(path, only_types_too=False):
        there = room_and_floor(imported)
        if there is None or there[0] == room or (module_name(path), there[0]) in DOORS:
            continue
        same_floor_is_fine = floor in (0, 3, 4, 5, 6)  # geometry raises InputError
        limit = floor if same_floor_is_fine else floor - 1
        assert there[1] <= limit, f"{module_name(path)} (floor {floor}) imports {imported}"


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_the_library_knows_neither_prefect_nor_a_screen(path: Path) -> None:
    if module_name(path).startswith("volseg"):
        for imported in imports_of(path, only_types_too=True):
            assert imported.split(".")[0] not in (
                "prefect",
                "napari",
                "qtpy",
                "magicgui",
                "PySide6",
            )


@pytest.mark.parametrize(
    ("what", "stays_out"),
    [
        ("import volseg", ["numpy", "torch", "dask", "zarr"]),
        ("import volseg.store, volseg.volume, volseg.prompts", ["torch", "distributed", "prefect"]),
        ("import volseg.cli", ["torch", "distributed", "prefect", "skimage"]),
        ("import volseg.jobs", ["torch", "prefect"]),
        ("import volseg.sam.registry", ["torch"]),
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
