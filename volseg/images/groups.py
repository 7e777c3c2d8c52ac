"""The NGFF attributes of a Zarr group, whichever format it has."""

from __future__ import annotations

from typing import Any

from volseg.errors import NotOmeZarrError
from volseg.images.documents import Documents
from volseg.storage import Store

_TELLING = {"multiscales", "plate", "well", "labels", "bioformats2raw.layout"}


def read_group(store: Store, path: str = "") -> tuple[str, dict[str, Any]] | None:
    """Read a group's NGFF attributes; see `group_in`."""
    return group_in(Documents(store), path)


def group_in(documents: Documents, path: str = "") -> tuple[str, dict[str, Any]] | None:
    """Read a group's NGFF attributes.

    Returns
    -------
    tuple or None
        NGFF version as the Zarr format implies ("0.4" for v2, "0.5" for v3) and the attributes (in 0.5 the content of
        ``ome``); None if there is no group.

    Raises
    ------
    NotOmeZarrError
        If there is an array instead, or a document is damaged.
    """
    prefix = f"{path}/" if path else ""
    where = documents.where(path).rstrip("/")
    document = documents.get(f"{prefix}zarr.json")
    if document is not None:
        if document.get("node_type") == "array":
            raise _bare_array(where)
        attributes = document.get("attributes") or {}
        ome = attributes.get("ome") if isinstance(attributes, dict) else None
        if ome is None and "multiscales" in attributes:
            raise NotOmeZarrError(
                f"{where}/zarr.json has 'multiscales' outside of 'ome': metadata of NGFF 0.4 in a Zarr 3 group, "
                "which no version of the format allows; write the image anew"
            )
        return "0.5", ome if isinstance(ome, dict) else {}
    attributes = documents.get(f"{prefix}.zattrs")
    if attributes and attributes.keys() & _TELLING:
        return "0.4", attributes
    if documents.get(f"{prefix}.zarray") is not None:
        raise _bare_array(where)
    if attributes is None and documents.get(f"{prefix}.zgroup") is None:
        return None
    return "0.4", attributes or {}


def _bare_array(where: str) -> NotOmeZarrError:
    return NotOmeZarrError(
        f"{where} is a Zarr array, not an OME-Zarr image: give the group above it, or write one with `volseg import`"
    )
