"""Where an export comes from: source, label image, edits, model and settings, who and when."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import volseg
from volseg.exporting.selection import Selection

if TYPE_CHECKING:
    from volseg.images.labels import Labels
    from volseg.storage import Store


def provenance_of(selection: Selection, operator: str | None = None) -> dict[str, Any]:
    """Gather what a reader needs to know to repeat or to trust an export.

    Parameters
    ----------
    selection : Selection
    operator : str, optional
        Who exports; default: the account's name.

    Returns
    -------
    dict
        Plain values: software, source, labels, journal, segmentation, selection, operator, time.
    """
    labels, volume = selection.labels, selection.volume
    return {
        "software": f"volseg {volseg.__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "operator": operator or _account(),
        "source": {
            "url": volume.location.url,
            "ngff": volume.stated_version,
            "identity": volume.identity(0),
            "imported_from": _imported_from(volume.store),
        },
        "labels": {
            "url": labels.location.url,
            "name": labels.name,
            "channel": labels.channel,
            "category": labels.metadata.category,
            "voxel_size_um_zyx": list(selection.scale),
        },
        "journal": _journal_version(labels),
        "segmentation": _plan_of(volume.output_store, labels.name),
        "selection": selection.describe(),
    }


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _imported_from(store: Store) -> dict[str, Any] | None:
    """What `volseg import` wrote down, without the facts that only geometry needs."""
    record = _json(store.get_or_none("volseg/source.json"))
    if record is None:
        return None
    return {key: record.get(key) for key in ("name", "kind", "imported")}


def _journal_version(labels: Labels) -> dict[str, int]:
    """The number of the last edit record (0 where nobody edited), and the last that all chunks
    hold.
    """
    from volseg.editing.journal import Journal

    journal = Journal(labels.store)
    return {"last_record": journal.last(), "checkpoint": journal.checkpoint()}


def last_plan(store: Store, name: str) -> tuple[datetime, dict[str, Any]] | None:
    """When, and by which plan, a label image was made last; None where no run made it.

    Parameters
    ----------
    store : Store
        Where labels and runs lie.
    name : str
        Of the label image.
    """
    newest: tuple[datetime, dict[str, Any]] | None = None
    for run in store.list_names_or_none("volseg/runs") or ():
        key = f"volseg/runs/{run}/plan.json"
        stat = store.head(key)
        plan = _json(store.get_or_none(key)) if stat is not None else None
        if stat is None or plan is None or _made(plan) != name:
            continue
        if newest is None or stat.modified > newest[0]:
            newest = (stat.modified, plan)
    return newest


def _plan_of(store: Store, name: str) -> dict[str, Any] | None:
    """Model, weights' hash and settings of the last run that made this label image."""
    newest = last_plan(store, name)
    if newest is None:
        return None
    plan = newest[1]
    predictor = plan.get("predictor") or {}
    kept = ("kind", "name", "variant", "sha256", "img_size", "zoom", "rendering")
    return {
        "plan": plan.get("hash"),
        "model": {key: predictor[key] for key in kept if key in predictor},
        "settings": plan.get("settings"),
    }


def _made(plan: dict[str, Any]) -> str | None:
    labels = plan.get("labels")
    return labels.get("name") if isinstance(labels, dict) else labels


def _json(data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
