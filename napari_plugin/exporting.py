"""Exports from the plugin: every format of the command line, with what each needs, on a thread of their own. No Qt."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from volseg.errors import InputError
from volseg.exporting import formats as all_formats
from volseg.exporting.formats import Format

if TYPE_CHECKING:
    from napari_plugin.editing import LabelEditing
    from volseg.exporting.output import ExportResult


def formats() -> list[tuple[str, str]]:
    """All formats as (name, for people)."""
    return [(one.name, one.title) for one in all_formats()]


def suggested_path(folder: str | Path, labels: str, name: str) -> str:
    """A place for an export: a file with the format's ending, or a folder."""
    one = _format(name)
    ending = one.suffix or (".zarr" if name == "ome-zarr" else f"-{name}")
    return str(Path(folder) / f"{labels}{ending}")


def _format(name: str) -> Format:
    return next(one for one in all_formats() if one.name == name)


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported.

    Parameters
    ----------
    out
        File or folder.
    format
        Name.
    objects, classes
        Only these; all where empty.
    level, time
        Which grid, and which time point.
    z
        Slices, half-open; None for all.
    overwrite
        Replace what is there.
    shards
        For OME-Zarr: write a sharded copy.
    """

    out: str
    format: str
    objects: Sequence[int] = ()
    classes: Sequence[str] = ()
    level: int = 0
    time: int = 0
    z: tuple[int, int] | None = None
    overwrite: bool = False
    shards: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Exporting:
    """Exports of label images, one at a time.

    Attributes
    ----------
    progress
        Signal(stage, done, total).
    finished
        Signal(ExportResult).
    failed
        Signal(exception, what was being done).
    """

    progress = Signal(str, int, int)
    finished = Signal(object)
    failed = Signal(object, str)

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def start(self, editing: LabelEditing, request: ExportRequest) -> Future[ExportResult]:
        """Store what is unsaved and export what then is on the store.

        Raises
        ------
        InputError
            An export is under way.
        """
        if not self._busy.acquire(blocking=False):
            raise InputError("an export is under way; wait until it has ended")
        future: Future[ExportResult] = Future()

        def work() -> None:
            try:
                editing.flush().result()
                result = self._export(editing, request)
            except BaseException as error:
                self._busy.release()
                future.set_exception(error)
                self.failed.emit(error, f"exporting {editing.name} as {request.format}")
            else:
                self._busy.release()
                future.set_result(result)
                self.finished.emit(result)

        threading.Thread(target=work, daemon=True, name="volseg-export").start()
        return future

    def _export(self, editing: LabelEditing, request: ExportRequest) -> ExportResult:
        from volseg.exporting import export
        from volseg.images.image import open_volume
        from volseg.images.labels import open_labels

        volume = editing.labels.volume()
        place = volume.output_store.location
        at = None if place == volume.location else place
        # opened anew, so that the table and what others did is what the store has now
        labels = open_labels(open_volume(volume.location, at), editing.name)
        options = {**request.options, **({"shards": True} if request.shards else {})}

        def told(stage: str, done: int, total: int, message: str = "") -> None:
            self.progress.emit(stage, done, total)

        return export(
            labels,
            request.out,
            request.format,
            objects=list(request.objects) or None,
            classes=list(request.classes) or None,
            level=request.level,
            time=request.time,
            z=request.z,
            overwrite=request.overwrite,
            operator=editing.annotator,
            progress=told,
            **options,
        )


def parse_ids(text: str) -> list[int]:
    """Ids typed as ``3, 7 9``.

    Raises
    ------
    InputError
        Something else is among them.
    """
    parts = text.replace(",", " ").split()
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"objects are ids such as 3, 7; found {text!r}")
    return [int(part) for part in parts]
