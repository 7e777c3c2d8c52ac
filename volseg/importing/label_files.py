"""Existing labels into label images: those of an image file with whole numbers, or of the kinds of `label_kinds`.

The file is read twice: once to find out whether it is sound and fits, then to write.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.errors import InputError
from volseg.geometry import Region
from volseg.importing.guard import existing, printable
from volseg.importing.label_kinds import label_kind, may_hold_labels
from volseg.importing.label_layer import LabelLayer, Piece, check_ids
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.opening import open_image
from volseg.importing.spool import Spool, fetch
from volseg.importing.volumes import slabs
from volseg.progress import Progress, silent
from volseg.storage.urls import is_url, parse_url

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow
    from volseg.images.targets.permission import Permission

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_KEPT = (
    ("class_", "class", str),
    ("class_by", "class_by", str),
    ("class_confidence", "class_confidence", int | float),
    ("parent", "parent", int),
    ("confidence", "confidence", int | float),
    ("annotator", "annotator", str),
    ("modified", "modified", str),
)


def import_labels(
    file: str | os.PathLike[str],
    volume: Volume,
    name: str,
    *,
    layer: str | None = None,
    axes: str | None = None,
    time: int | None = None,
    components: bool = False,
    classes: Mapping[int, str] | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    progress: Progress | None = None,
    options: SourceOptions = AS_IT_IS,
) -> Labels:
    """Make a label image out of labels that exist already.

    Parameters
    ----------
    file : path or URL
        An image file with whole numbers (see `volseg.importing.opening.open_image`), or a file of one of
        `volseg.importing.label_kinds.KINDS`, such as JSON written by `volseg export --format json`.
    volume : Volume
        The image that the labels belong to; they must have the shape of one of its levels.
    name : str
        Of the label image.
    layer : str, optional
        Which layer or channel of a file that has several, by its name.
    axes : str, optional
        Of an image file, where it does not tell.
    time : int, optional
        Time point that labels of a single one belong to (default 0).
    components : bool
        The file is a mask: each component of equal voxels (26 neighbours) becomes an object.
    classes : mapping of int to str, optional
        Ids are class numbers, as scribbles': their names. Objects that the file gives one of these classes get its
        number.
    overwrite : bool
        Replace a label image of this name that volseg wrote, and keep it in the trash.
    overwrite_edits : bool
        With `overwrite`: also one that people edited.
    progress : Progress, optional
    options : SourceOptions
        Which image of a source that holds several, and whether missing slices are left empty.

    Returns
    -------
    Labels
        With pyramid and object table; ids as in the file.

    Raises
    ------
    InputError
        If the file is damaged, holds no whole numbers or ids beyond 2³²−1, does not fit the
        volume, or has several layers of which none was chosen. Nothing is left behind.
    """
    told, text = progress or silent, os.fspath(file)
    permission = _allowed(text, volume, [name], overwrite, overwrite_edits)
    with _layers(text, volume, axes, components, options) as found:
        chosen = _numbered(_chosen(text, found, layer), classes)
        if len(chosen) > 1:
            raise InputError(
                f"{printable(text)}: has the layers {_listed(chosen)}; choose one of them, or import all with "
                "import_label_layers"
            )
        return _write(chosen[0], volume, name, _facts(chosen[0], classes), time, permission, told)


def import_label_layers(
    file: str | os.PathLike[str],
    volume: Volume,
    names: Sequence[str] = (),
    *,
    layer: str | None = None,
    axes: str | None = None,
    time: int | None = None,
    components: bool = False,
    classes: Mapping[int, str] | None = None,
    overwrite: bool = False,
    overwrite_edits: bool = False,
    progress: Progress | None = None,
    options: SourceOptions = AS_IT_IS,
) -> list[Labels]:
    """Make a label image out of each layer or channel of a file, bound to the channel that the file says.

    Parameters
    ----------
    names : sequence of str
        One per layer; or one, to which the layers' names are added where there are several; or none, for the names that
        the layers have in the file.
    file, volume, layer, axes, time, components, classes, overwrite, overwrite_edits, progress, options
        As in `import_labels`.

    Raises
    ------
    InputError
        As `import_labels`, or if the names don't fit the layers. All layers are checked before the first is written.
    """
    told, text = progress or silent, os.fspath(file)
    with _layers(text, volume, axes, components, options) as found:
        chosen = _numbered(_chosen(text, found, layer), classes)
        called = _names(text, chosen, names)
        permission = _allowed(text, volume, called, overwrite, overwrite_edits)
        if len(chosen) > 1:
            for one in chosen:
                _check(one, volume, time, told)
        return [
            _write(one, volume, name, _facts(one, classes), time, permission, told)
            for one, name in zip(chosen, called, strict=True)
        ]


def _allowed(
    text: str, volume: Volume, names: Sequence[str], overwrite: bool, overwrite_edits: bool
) -> Permission:
    """What may be replaced; refused at once, before a long look at the file, where that does not do."""
    from volseg.images.labels import check_label_image
    from volseg.images.targets.permission import Permission
    from volseg.images.targets.places import refuse_sources

    permission = Permission(overwrite, overwrite_edits)
    for name in names:
        check_label_image(volume, name, permission)
        refuse_sources([text], volume.output_store.location.joined(f"labels/{name}"))
    return permission


@contextlib.contextmanager
def _layers(
    text: str, volume: Volume, axes: str | None, components: bool, options: SourceOptions
) -> Iterator[list[LabelLayer]]:
    """The layers of a file, open as long as the context is."""
    from volseg.importing.components import components_of

    with contextlib.ExitStack() as opened:
        kind, path = None, None
        if may_hold_labels(text):
            path = opened.enter_context(_local(text))
            kind = label_kind(existing(path)) if path.is_file() else None
        if kind is not None and path is not None:
            found = kind.open(path, volume)
        else:
            source = text if path is None else path
            image = opened.enter_context(open_image(source, axes, replace(options, labels=True)))
            found = _channels(image, volume)
        yield [components_of(one) for one in found] if components else found


def _channels(image: OpenedImage, volume: Volume) -> list[LabelLayer]:
    """The label layer of an image file, or one per channel, bound to the volume's channel of its name or number."""
    if "s" in image.axes or image.n_channels == 1:
        image.as_labels()
        return [LabelLayer(None, image.shape_zyx, image.n_times, _reading(image, 0))]
    if image.dtype.kind == "f" or image.companions.why_no_labels is not None:
        image.as_labels()
    names = image.channel_names or tuple(f"c{n}" for n in range(image.n_channels))
    known = [one.name for one in volume.channels]
    same = set(names) <= set(known) and len(set(known)) == len(known)
    return [
        LabelLayer(
            name,
            image.shape_zyx,
            image.n_times,
            _reading(image, number),
            channel=known.index(name) if same else number,
        )
        for number, name in enumerate(names)
    ]


def _reading(image: OpenedImage, channel: int) -> Callable[[list[Region]], Iterator[Piece]]:
    def pieces(regions: list[Region]) -> Iterator[Piece]:
        for time in range(image.n_times):
            for region in regions:
                yield time, region, image.read(region, time=time, channel=channel)

    return pieces


def _chosen(text: str, layers: list[LabelLayer], name: str | None) -> list[LabelLayer]:
    if name is None:
        return layers
    if found := [one for one in layers if one.name == name]:
        return found
    raise InputError(
        f"{printable(text)}: has the layers {_listed(layers)}; choose one of them, not {name!r}"
    )


def _names(text: str, layers: list[LabelLayer], names: Sequence[str]) -> list[str]:
    """The names of the label images that layers become."""
    if len(names) == len(layers):
        return list(names)
    if len(names) > 1 or (not names and any(not one.name for one in layers)):
        raise InputError(
            f"{printable(text)}: has {len(layers)} layer(s) ({_listed(layers)}), but {len(names)} names are given; "
            "give a name for each, or one to which theirs are added"
        )
    first = f"{names[0]}-" if names else ""
    plain = [_NOT_IN_NAMES.sub("-", one.name or str(n)).strip(".-") for n, one in enumerate(layers)]
    found = [f"{first}{name or n}" for n, name in enumerate(plain)]
    return found if len(set(found)) == len(found) else [f"{n}-{i}" for i, n in enumerate(found)]


def _listed(layers: list[LabelLayer]) -> str:
    return ", ".join(printable(one.name or "one without a name") for one in layers)


def _numbered(layers: list[LabelLayer], classes: Mapping[int, str] | None) -> list[LabelLayer]:
    from volseg.importing.class_numbers import as_class_numbers

    return layers if classes is None else [as_class_numbers(one, classes) for one in layers]


def _facts(layer: LabelLayer, classes: Mapping[int, str] | None) -> dict[str, Any]:
    facts = {"channel": layer.channel, "category": layer.category, "objects": layer.objects}
    return facts | {"classes": classes}


def _write(
    source: LabelLayer,
    volume: Volume,
    name: str,
    facts: dict[str, Any],
    time: int | None,
    permission: Permission,
    progress: Progress,
) -> Labels:
    from volseg.images.labels import labels_made_aside
    from volseg.images.pyramid import build_pyramid
    from volseg.images.scan import scan_objects

    level, first = _check(source, volume, time, progress)
    with labels_made_aside(
        volume,
        name,
        "uint32",
        level=level,
        channel=_channel(facts.get("channel"), volume),
        category=facts.get("category"),
        classes=facts.get("classes"),
        permission=permission,
    ) as labels:
        regions = slabs(labels.grid, 4)
        for done, (at, region, ids) in enumerate(source.pieces(regions), 1):
            labels.write_objects(region, ids.astype(np.uint32), time=first + at, fresh=True)
            progress("import", done, max(done, len(regions) * source.n_times))
        for at in range(source.n_times):
            build_pyramid(labels, time=first + at, progress=progress)
        rows = scan_objects(labels, progress=progress)
        labels.objects.replace(_with_facts(rows, facts.get("objects", [])))
        labels.objects.publish()
    return volume.labels[name]


def _check(
    source: LabelLayer, volume: Volume, time: int | None, progress: Progress
) -> tuple[int, int]:
    """Return the level that labels lie on and their first time, after a look at all of them."""
    level = _level(source, volume)
    first = _first_time(source, volume, time)
    regions = slabs(volume.levels[level].grid, 4)
    for done, (_, _, ids) in enumerate(source.pieces(regions), 1):
        check_ids(ids)
        progress("check", done, max(done, len(regions) * source.n_times))
    return level, first


def _with_facts(rows: list[ObjectRow], told: list[Any]) -> list[ObjectRow]:
    """What a file says of its objects, put into the rows that the voxels gave."""
    known = {(one.get("id"), one.get("t", 0)): one for one in told if isinstance(one, dict)}
    result = []
    for row in rows:
        one = known.get((row.id, row.time), {})
        kept: dict[str, Any] = {
            field: value
            for field, key, kind in _KEPT
            if isinstance(value := one.get(key), kind) and not isinstance(value, bool)
        }
        result.append(replace(row, **kept))
    return result


def _level(source: LabelLayer, volume: Volume) -> int:
    for level in volume.levels:
        if level.grid.shape == source.shape:
            return level.index
    shapes = ", ".join(str(level.grid.shape) for level in volume.levels)
    raise InputError(
        f"the labels have shape {source.shape} (z, y, x), the levels of {volume.location} have "
        f"{shapes}; labels must lie on one of these grids"
    )


def _first_time(source: LabelLayer, volume: Volume, time: int | None) -> int:
    if time is None:
        if source.n_times not in (1, volume.n_times):
            raise InputError(
                f"the labels have {source.n_times} times, {volume.location} has {volume.n_times}"
            )
        return 0
    if source.n_times != 1 or not 0 <= time < volume.n_times:
        raise InputError(
            f"time {time}: {volume.location} has times 0 to {volume.n_times - 1}, and the file "
            f"must have one (it has {source.n_times})"
        )
    return time


def _channel(value: object, volume: Volume) -> int | list[int] | None:
    """The channel of a JSON layer as far as the volume has it."""
    several = [value] if isinstance(value, int) else value
    if not isinstance(several, list) or not several:
        return None
    if not all(isinstance(c, int) and 0 <= c < volume.n_channels for c in several):
        return None
    return value  # type: ignore[return-value]


@contextlib.contextmanager
def _local(text: str) -> Iterator[Path]:
    """The path of a file; one on a store is fetched first."""
    location = parse_url(text) if is_url(text) else None
    path = location.local_path if location is not None else Path(os.path.expanduser(text))
    if path is not None:
        yield path
        return
    assert location is not None
    spool = Spool()
    try:
        yield fetch(location, spool)
    finally:
        spool.close()
