"""The table of objects of a label image: what each id is, where it lies and who touched it last.

The table is one JSON object beside the labels, changed by conditional puts; the voxels are the authority on geometry
and `volseg.images.scan.scan_objects` makes it anew from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from volseg.errors import AlreadyWrittenError, ChangedError, NotThereError, UnsupportedFormatError
from volseg.geometry import Region
from volseg.images.label_groups import color_of
from volseg.images.metadata import RECORDS, group_key, to_json

if TYPE_CHECKING:
    from volseg.images.labels import Labels

TABLE_KEY = f"{RECORDS}/objects.json"
_FORMAT = "volseg-objects"
MODEL = "model:"
"""What `class_by` begins with where a model gave the class."""


@dataclass(frozen=True)
class ObjectRow:
    """One object at one time.

    Parameters
    ----------
    id
        Label value.
    time
        Time index.
    class_
        What it is, as "nucleus"; None if not said. A person's word comes before a model's.
    class_by
        Who gave the class: a person, or `MODEL` and the model's name and hash; None if not known.
    class_confidence
        0..1, how sure a model is of the class; None where a person gave it.
    parent
        Id of the object of another label image that it lies in (cells → organelles).
    channel
        Channel(s) of the image that it was seen in.
    bbox
        Half-open voxel ranges ((z0, z1), (y0, y1), (x0, x1)) of level 0.
    voxels
        Number of voxels of level 0.
    volume_um3
        Volume in cubic micrometres.
    confidence
        0..1, None where a person drew it or nothing is known.
    annotator
        Who touched it last; None for the model.
    modified
        When, ISO 8601 in UTC.
    status
        What a person said of it: "accepted" or "rejected"; None: still to be looked at.
    """

    id: int
    time: int = 0
    class_: str | None = None
    class_by: str | None = None
    class_confidence: float | None = None
    parent: int | None = None
    channel: int | list[int] | None = None
    bbox: Region | None = None
    voxels: int = 0
    volume_um3: float = 0.0
    confidence: float | None = None
    annotator: str | None = None
    modified: str | None = None
    status: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is stored: `class` without the underscore, None left out."""
        return {key.rstrip("_"): value for key, value in vars(self).items() if value is not None}

    def class_of_person(self, category: str | None) -> str | None:
        """Return the class if a person gave it, else None.

        Parameters
        ----------
        category
            What the label image says all its objects are, which is nobody's word on one of them.
        """
        if self.class_ is None or (self.class_by or "").startswith(MODEL):
            return None
        return None if self.class_by is None and self.class_ == category else self.class_

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ObjectRow:
        """Read a stored row; keys that this version doesn't know are left out."""
        known = {name: content.get(name.rstrip("_")) for name in cls.__dataclass_fields__}
        given = {name: value for name, value in known.items() if value is not None}
        if "bbox" in given:
            z, y, x = ((int(low), int(high)) for low, high in given["bbox"])
            given["bbox"] = (z, y, x)
        return cls(**given)


class ObjectTable:
    """Rows of a label image, by time and id. Get it as `labels.objects`.

    Every change is a read, a change and a conditional put, repeated if someone else was faster.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return len(self.rows())

    def rows(self, time: int | None = None) -> list[ObjectRow]:
        """Return the rows of one time, or of all, sorted by time and id."""
        found = self._load()
        rows = [] if found is None else list(found[0].values())
        return sorted((r for r in rows if time is None or r.time == time), key=_place)

    def row(self, object_id: int, time: int = 0) -> ObjectRow:
        """Return the row of an object.

        Raises
        ------
        NotThereError
            If there is none.
        """
        found = self._load()
        row = None if found is None else found[0].get((time, object_id))
        if row is None:
            raise NotThereError(
                f"{self._labels.location} has no object {object_id} at time {time} in its table"
            )
        return row

    def replace(self, rows: Iterable[ObjectRow]) -> None:
        """Make these the only rows."""
        new = {_place(row): row for row in rows}
        self.change(lambda _: new)

    def update(self, rows: Iterable[ObjectRow]) -> None:
        """Add rows, or replace those of the same time and id."""
        new = {_place(row): row for row in rows}
        self.change(lambda old: old | new)

    def remove(self, ids: Iterable[int], time: int | None = None) -> None:
        """Remove objects at one time, or at all times."""
        gone = set(ids)

        def without(old: dict[tuple[int, int], ObjectRow]) -> dict[tuple[int, int], ObjectRow]:
            return {k: r for k, r in old.items() if r.id not in gone or time not in (None, r.time)}

        self.change(without)

    def set(self, object_id: int, time: int = 0, **values: Any) -> ObjectRow:
        """Change fields of an object (`class_`, `parent`, `confidence`, …) and return its new row."""
        key = (time, object_id)

        def changed(old: dict[tuple[int, int], ObjectRow]) -> dict[tuple[int, int], ObjectRow]:
            return old | {key: replace(old.get(key, ObjectRow(object_id, time)), **values)}

        return self.change(changed)[key]

    def change(
        self,
        function: Callable[[dict[tuple[int, int], ObjectRow]], dict[tuple[int, int], ObjectRow]],
    ) -> dict[tuple[int, int], ObjectRow]:
        """Replace the rows, by (time, id), by what a function makes of them; it may be called again after a race."""
        store = self._labels.store
        while True:
            found = self._load()
            rows = function({} if found is None else dict(found[0]))
            data = _dump(rows)
            try:
                if found is None:
                    store.put_new(TABLE_KEY, data)
                else:
                    store.put_if(TABLE_KEY, data, found[1])
            except (AlreadyWrittenError, ChangedError):
                continue
            return rows

    def publish(self) -> None:
        """Write classes, parents and colours of up to 1,000 objects into the `image-label` metadata."""
        publish_properties(self._labels, self.rows())

    def _load(self) -> tuple[dict[tuple[int, int], ObjectRow], str] | None:
        found = self._labels.store.get_with_etag(TABLE_KEY)
        if found is None:
            return None
        try:
            document = json.loads(found[0])
            if document["format"] != _FORMAT or document["version"] != 1:
                raise ValueError("another format")
            rows = [ObjectRow.from_json(item) for item in document["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedFormatError(
                f"{self._labels.location}/{TABLE_KEY} can't be read ({error}); delete it and scan anew"
            ) from None
        return {_place(row): row for row in rows}, found[1]


def _place(row: ObjectRow) -> tuple[int, int]:
    return (row.time, row.id)


def _dump(rows: dict[tuple[int, int], ObjectRow]) -> bytes:
    content = {
        "format": _FORMAT,
        "version": 1,
        "rows": [rows[key].to_json() for key in sorted(rows)],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def publish_properties(labels: Labels, rows: Sequence[ObjectRow], most: int = 1000) -> None:
    """Write `image-label` properties and colours of up to `most` objects; the object table stays the authority."""
    key = group_key(labels.ngff_version)
    first: dict[int, ObjectRow] = {}
    for row in sorted(rows, key=_place):
        first.setdefault(row.id, row)
    for number, name in (labels.metadata.classes or {}).items():  # where ids are class numbers
        first[number] = replace(first.get(number, ObjectRow(number)), class_=name)
    chosen = [first[number] for number in sorted(first)[:most]]
    while True:
        found = labels.store.get_with_etag(key)
        if found is None:
            raise NotThereError(f"{labels.location}/{key} does not exist")
        document = json.loads(found[0])
        part = document if labels.ngff_version == "0.4" else document["attributes"]["ome"]
        entry = part.setdefault("image-label", {})
        entry.pop("properties", None)
        entry["colors"] = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
        if chosen:  # colours and properties of the same ids: validators insist
            entry["colors"] = [{"label-value": r.id, "rgba": color_of(r.id)} for r in chosen]
            entry["properties"] = [_property(row) for row in chosen]
        try:
            labels.store.put_if(key, to_json(document), found[1])
        except ChangedError:
            continue
        return


def _property(row: ObjectRow) -> dict[str, Any]:
    content: dict[str, Any] = {"label-value": row.id}
    if row.class_ is not None:
        content["class"] = row.class_
    if row.parent is not None:
        content["parent"] = row.parent
    if row.voxels:
        content["voxels"] = row.voxels
    return content
