"""Prompts beside the labels: one document per object, written as it is accepted, read when a label image is opened.

Each is a whole prompts file of one object, so that the command line and exports read them as any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from volseg.errors import InputError, PromptError
from volseg.prompts import Layer, PromptedObject, PromptSet, parse_prompts

if TYPE_CHECKING:
    from volseg.images.labels import Labels

FOLDER = "volseg/prompts"
SELECTIONS = "volseg/selections"


def layer_of(labels: Labels) -> Layer:
    """The layer of prompts that a label image is."""
    channel = labels.channel
    return Layer(
        name=labels.name,
        channel=tuple(channel) if isinstance(channel, list) else channel,
        category=labels.metadata.category,
    )


def as_set(labels: Labels, objects: Iterable[PromptedObject]) -> PromptSet:
    """Objects of a label image as a prompts file."""
    members = tuple(one.model_copy(update={"layer": None}) for one in objects)
    return PromptSet(layers=(layer_of(labels),), objects=members)


def save_object(labels: Labels, one: PromptedObject) -> None:
    """Store the prompts of one object, instead of what was stored for it before."""
    document = as_set(labels, [one]).to_json()
    labels.store.put(_key(one.id), document.encode())


def forget_object(labels: Labels, object_id: int) -> None:
    """Remove the prompts that were stored for one object."""
    labels.store.delete(_key(object_id))


def load_objects(labels: Labels) -> dict[int, PromptedObject]:
    """The prompts of all objects; those that were accepted one by one come before those of whole runs.

    Raises
    ------
    PromptError
        A stored document is damaged; the message names it.
    """
    try:
        names = [name for name in labels.store.list_names(FOLDER) if name.endswith(".json")]
    except InputError:  # a web server, which can't list
        return {}
    found: dict[int, PromptedObject] = {}
    for name in sorted(names, key=lambda name: name.startswith("object-")):
        data = labels.store.get_or_none(f"{FOLDER}/{name}")
        if data is None:
            continue
        place = f"{labels.location}/{FOLDER}/{name}"
        try:
            document = json.loads(data)
        except ValueError as error:
            raise PromptError(f"{place} is damaged ({error}); delete it") from error
        for one in parse_prompts(document, where=place).objects:
            found[one.id] = one.model_copy(update={"layer": None})
    return dict(sorted(found.items()))


def save_selection(labels: Labels, prompts: PromptSet, name: str) -> str:
    """Store the prompts of a run for a cluster to read; return the URL.

    They lie apart from the objects' own prompts, so that no object stands twice.
    """
    key = f"{SELECTIONS}/{name}.json"
    labels.store.put(key, prompts.to_json().encode())
    return labels.location.joined(key).url


def _key(object_id: int) -> str:
    return f"{FOLDER}/object-{object_id:010d}.json"
