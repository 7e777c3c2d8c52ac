"""Where tables of features lie: beside the labels, or where the volume's outputs go if the labels can't be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.measurement.definition import FeatureDefinition
from volseg.measurement.table import FeatureTable, table_key

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels


def place_of_table(volume: Volume, labels: Labels, definition: FeatureDefinition) -> str:
    """Return the key, in the volume's output store, of the table of a definition."""
    own = f"labels/{labels.name}"
    beside = labels.store.location == volume.output_store.location.joined(own)
    folder = own if beside else f"volseg/features-of/{labels.name}"
    return f"{folder}/{table_key(definition)}"


def stored_table(
    volume: Volume, labels: Labels, definition: FeatureDefinition
) -> FeatureTable | None:
    """Return the table of a definition, whatever state of the labels it is of; None where there is none."""
    key = place_of_table(volume, labels, definition)
    data = volume.output_store.get_or_none(key)
    return None if data is None else FeatureTable(data, f"{volume.output_store.location}/{key}")
