"""Exports: what is selected, in which format, to where, with provenance and a manifest."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError
from volseg.exporting.formats import Format, find_format, formats
from volseg.exporting.output import ExportResult, opened_output
from volseg.exporting.provenance import provenance_of
from volseg.exporting.selection import Selection, select
from volseg.geometry import Region
from volseg.progress import Progress, silent
from volseg.storage import parse_url

if TYPE_CHECKING:
    from volseg.images.labels import Labels


def export(
    labels: Labels | Sequence[Labels],
    out: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    region: Region | None = None,
    z: tuple[int, int] | None = None,
    y: tuple[int, int] | None = None,
    x: tuple[int, int] | None = None,
    objects: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    level: int = 0,
    time: int = 0,
    overwrite: bool = False,
    operator: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ExportResult:
    """Export a label image.

    Parameters
    ----------
    labels : Labels, or several for formats that take layers
        See `volseg.exporting.formats.formats`.
    out : path or URL
        Of the file, or of the folder that the format makes; a folder that exists takes the file.
    format : str, optional
        Its name; default: by the target's ending.
    region, z, y, x : optional
        Half-open voxels of the level.
    objects : sequence of int, optional
        Ids to keep.
    classes : sequence of str, optional
        Keep objects of these classes.
    level, time : int
    overwrite : bool
        Replace what is there.
    operator : str, optional
        Who exports, for the provenance; default: the account's name.
    progress : Progress, optional
    **options
        Of the format's own; see its function.

    Returns
    -------
    ExportResult
        The files, and the manifest with provenance and the SHA-256 of each.

    Raises
    ------
    InputError
        If something is selected that is not there, an option is unknown, or the target exists
        (`ExistsError`).
    StorageError
        If writing fails, or what was written reads back differently. Nothing is left at the target.
    """
    several = [labels] if not isinstance(labels, Sequence) else list(labels)
    kind = find_format(format, os.fspath(out))
    if len(several) != 1 and not kind.layers:
        takes = ", ".join(one.name for one in formats() if one.layers)
        raise InputError(
            f"format {kind.name} takes one label image, not {len(several)}; several go into: {takes}"
        )
    if len({one.location.url for one in several}) < len(several):
        raise InputError("a label image is named twice; each becomes a layer once")
    selections = [
        select(
            one,
            level=level,
            time=time,
            region=region,
            z=z,
            y=y,
            x=x,
            objects=objects,
            classes=classes,
        )
        for one in several
    ]
    if len({s.labels.levels[level].grid.shape for s in selections}) > 1:
        raise InputError("label images of different shapes can't go into one file")
    known = _options(kind, options)
    provenance = provenance_of(selections[0], operator)
    if len(selections) > 1:
        provenance["layers"] = [s.labels.location.url for s in selections]
    provenance["format_options"] = {key: repr(value) for key, value in known.items()}
    target = _target(out, kind, several[0].name)
    folder = not kind.makes_one_file(target, selections[0], known)
    beside = kind.folder_beside(target)
    sources = [place for one in selections for place in one.labels.places]
    with opened_output(
        target, folder=folder, overwrite=overwrite, beside=beside, sources=sources
    ) as output:
        what: Selection | list[Selection] = selections if kind.layers else selections[0]
        digests = kind.writer()(what, output.work, provenance, progress or silent, **known)
        return output.commit({"provenance": provenance}, digests or {})


def _options(kind: Format, given: dict[str, Any]) -> dict[str, Any]:
    """The options that the format's writer knows; others are errors unless they say nothing."""
    names = {
        name
        for name, parameter in inspect.signature(kind.writer()).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for name, value in given.items():
        if name not in names and value not in (None, False):
            listed = ", ".join(sorted(names)) or "none"
            raise InputError(f"format {kind.name} has no option {name!r}; its options: {listed}")
    return {name: value for name, value in given.items() if name in names and value is not None}


def _target(out: str | os.PathLike[str], kind: Format, name: str) -> str:
    """The target's full name: a file that goes into an existing folder gets the labels' name."""
    text = os.fspath(out)
    path = parse_url(text).local_path
    if not kind.folder and path is not None and (path.is_dir() or text.endswith(os.sep)):
        return str(Path(path) / f"{name}{kind.suffix}")
    return text
