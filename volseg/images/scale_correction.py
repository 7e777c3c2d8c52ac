"""`set_scale`: another voxel size for an image and everything measured by it, without touching voxels.

The correction is written down first (`RECORD`), as new values of single places in the metadata documents. Then each
document is changed by a conditional put, the image's own last, and the record is deleted. Whoever finds a record
finishes it before anything else: applying it twice changes nothing, so that a kill in between, or two at once, leave
the old voxel size, or the new one after the next run, and never a mixture for good.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from volseg.errors import (
    AccessDeniedError,
    AlreadyWrittenError,
    ChangedError,
    InputError,
    NameRefusedError,
    NotOmeZarrError,
)
from volseg.images.image import Volume, open_volume
from volseg.images.label_groups import label_names
from volseg.images.labels import Labels
from volseg.images.metadata import RECORDS, to_json
from volseg.images.objects import TABLE_KEY, ObjectRow
from volseg.images.scale_patches import Patch, patched, scale_patches
from volseg.images.voxel_size import checked_size
from volseg.storage import Location, Store, check_name

RECORD = f"{RECORDS}/scale-correction.json"
_FORMAT = "volseg-scale-correction"
_GROUP_DOCUMENTS = (".zmetadata", ".zattrs", "zarr.json")
_MAPS = f"{RECORDS}/maps"
_VERSIONS = ("0.4", "0.5")


@dataclass(frozen=True)
class _Correction:
    """The record: patches by document, at the image and at the place of labels of its own."""

    id: str
    size_um: tuple[float, float, float]
    labels_at: str | None
    image: dict[str, list[Patch]]
    labels: dict[str, list[Patch]]

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        return to_json({"format": _FORMAT, "version": 1} | self.__dict__)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> _Correction:
        """Read a stored record."""
        try:
            said = json.loads(data)
            if said.pop("format") != _FORMAT or said.pop("version") != 1:
                raise ValueError("another format")
            return cls(**said)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NotOmeZarrError(
                f"{where} can't be read ({error}); a later version of volseg may have begun to correct the voxel size: "
                "finish it with that"
            ) from None


def set_scale(
    url: str | Path | Location,
    size_um: Sequence[float],
    labels_at: str | Path | Location | None = None,
) -> Volume:
    """Correct the voxel size of an image; voxels stay as they are.

    Every level, its translation, the label images of this image and its maps follow, also in consolidated metadata and
    in the tables of objects. A correction that was interrupted is finished first.

    Parameters
    ----------
    url
        The image, NGFF 0.4 or 0.5.
    size_um : (z, y, x)
        Voxel size of level 0 in micrometres; z counts for nothing where the image has no z axis.
    labels_at
        Where label images lie, if not in the image; those in the image follow as well.

    Returns
    -------
    Volume
        Opened anew.

    Raises
    ------
    InputError
        If the size is not three positive numbers, or the place can't be written.
    NotOmeZarrError
        If it is no such image, or one of its label images can't be understood; nothing is changed.
    ChangedError
        If someone else corrected it to another size at the same time.
    """
    size = checked_size(size_um)
    volume = open_volume(url, labels_at, writable=True)
    _check_writable(volume)
    _finish(volume)
    volume = open_volume(url, labels_at, writable=True)
    correction = _planned(volume, size)
    try:
        volume.store.put_new(RECORD, correction.to_bytes())
    except AlreadyWrittenError:
        raise ChangedError(
            f"{volume.location}: someone else is correcting its voxel size just now; look at it with `volseg info`, "
            "and try again"
        ) from None
    _finish(volume)
    result = open_volume(url, labels_at, writable=True)
    wanted = [n for axis, n in zip("zyx", size, strict=True) if axis in result.axes]
    found = [n for axis, n in zip("zyx", result.scale, strict=True) if axis in result.axes]
    if not np.allclose(wanted, found, rtol=1e-9):
        raise ChangedError(
            f"{result.location}: someone else corrected its voxel size at the same time, to {found} µm; "
            "agree on one, and try again"
        )
    return result


def _check_writable(volume: Volume) -> None:
    """Refuse places that can't be written before anything is, that of the labels too."""
    for store in _places(volume):
        path = store.location.local_path
        if store.read_only:
            raise InputError(
                f"{store.location} is read only, so that its voxel size can't be corrected; copy it with "
                "`volseg import URL COPY --voxel-size Z Y X`"
            )
        if path is not None and path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise AccessDeniedError(f"{path} can't be written; ask its owner to correct it")
        if store != volume.store:
            probe = f"{RECORDS}/scale-correction-{uuid.uuid4().hex}"
            store.put_new(probe, b"{}")
            store.delete(probe)
    if volume.multiscale.stated not in _VERSIONS:
        raise NotOmeZarrError(
            f"{volume.location}: NGFF {volume.multiscale.stated} has no voxel sizes; copy it with "
            "`volseg import URL COPY --voxel-size Z Y X`"
        )


def _places(volume: Volume) -> list[Store]:
    """Where documents lie that follow: the place of labels, if there is one, and the image."""
    image = Store(volume.location)
    other = volume.output_store
    return [image] if other.location == volume.location else [other, image]


def _planned(volume: Volume, size: tuple[float, float, float]) -> _Correction:
    """Work out all patches from what is stored now."""
    *other, image = _places(volume)
    new = dict(zip("zyx", size, strict=True))
    old = dict(zip("zyx", volume.scale, strict=True))
    at = None if not other else other[0].location.url
    of_labels = {} if not other else _patches_in(other[0], old, new)
    return _Correction(uuid.uuid4().hex, size, at, _patches_in(image, old, new), of_labels)


def _patches_in(
    store: Store, old: dict[str, float], new: dict[str, float]
) -> dict[str, list[Patch]]:
    """The patches of every document below a place, by key; the place's own come last."""
    found: dict[str, list[Patch]] = {}
    for group in [*_groups_in(store), "labels", ""]:
        for name in _GROUP_DOCUMENTS:
            key = f"{group}/{name}" if group else name
            data = store.get_or_none(key)
            if data is None:
                continue
            where = f"{store.location}/{key}"
            try:
                document = json.loads(data)
            except ValueError:
                raise NotOmeZarrError(f"{where} is damaged; nothing was changed") from None
            if patches := scale_patches(document, old, new, where):
                found[key] = patches
    return found


def _groups_in(store: Store) -> list[str]:
    """The label images and maps at a place, as paths."""
    names = []
    for name in label_names(store):
        with suppress(NameRefusedError):
            names.append(f"labels/{check_name(name, 'label image')}")
    return names + [f"{_MAPS}/{name}" for name in store.list_names(_MAPS)]


def _finish(volume: Volume) -> None:
    """Finish the correction that is recorded, if there is one."""
    store = Store(volume.location)
    data = store.get_or_none(RECORD)
    if data is None:
        return
    correction = _Correction.from_bytes(data, f"{store.location}/{RECORD}")
    if correction.labels_at is not None:
        _apply_all(store, correction, Store(correction.labels_at), correction.labels)
    _apply_all(store, correction, store, correction.image)
    for place in {correction.labels_at or "", ""}:
        _correct_tables(open_volume(volume.location, place or None))
    if _stands(store, correction):
        store.delete(RECORD)


def _apply_all(
    record_store: Store,
    correction: _Correction,
    store: Store,
    documents: dict[str, list[Patch]],
) -> None:
    for key, patches in documents.items():
        while (found := store.get_with_etag(key)) is not None:
            data, etag = found
            before = json.loads(data)
            after = patched(json.loads(data), patches)
            if after == before or not _stands(record_store, correction):
                break  # done already, by whoever deleted the record if that is gone
            with suppress(ChangedError):
                store.put_if(key, to_json(after), etag)
                break


def _stands(store: Store, correction: _Correction) -> bool:
    """Whether the record is still there: else someone else has finished it."""
    data = store.get_or_none(RECORD)
    return data is not None and json.loads(data).get("id") == correction.id


def _correct_tables(volume: Volume) -> None:
    """Bring the volumes in the tables of objects to the voxel size of their label images."""
    for store in _places(volume):
        for group in (g for g in _groups_in(store) if g.startswith("labels/")):
            below = store.sub(group)
            if not below.exists(TABLE_KEY):
                continue
            labels = Labels(volume.location, below)
            voxel = float(np.prod(labels.scale))

            def measured(
                rows: dict[tuple[int, int], ObjectRow], voxel: float = voxel
            ) -> dict[tuple[int, int], ObjectRow]:
                return {k: replace(row, volume_um3=row.voxels * voxel) for k, row in rows.items()}

            labels.objects.change(measured)
