"""Metadata documents of Zarr groups and arrays: each its own object, or taken from consolidated ones.

Nothing here knows what NGFF is.
"""

from __future__ import annotations

import json
from typing import Any

from volseg.errors import AccessDeniedError, NotOmeZarrError
from volseg.storage import Store


class Documents:
    """Metadata documents below a group, read once each.

    One that is no object of its own is looked for among the consolidated ones of the topmost group: in ``.zmetadata``
    (Zarr 2) or in its ``zarr.json`` (Zarr 3). A place that answers "forbidden" counts as having none, since many don't
    tell what is missing from what is forbidden; the refusal is kept in `denied`, for who finds nothing at all.

    Parameters
    ----------
    store
        Store of the group.
    above
        Documents of a group above it, whose consolidated ones cover this one.
    path
        Path of the group in that one.
    """

    def __init__(self, store: Store, above: Documents | None = None, path: str = "") -> None:
        self.store = store
        self.denied: AccessDeniedError | None = None
        self._top = above or self
        self._prefix = f"{path}/" if path else ""
        self._read: dict[str, bytes | None] = {}

    def where(self, key: str) -> str:
        """Return the address of a document, for messages."""
        return f"{self.store.location}/{key}"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a document, None where there is none.

        Raises
        ------
        NotOmeZarrError
            If it is no JSON object.
        """
        own = self._own(key)
        return own if own is not None else self._top._consolidated(self._prefix + key)

    def _own(self, key: str) -> dict[str, Any] | None:
        if key not in self._read:
            try:
                self._read[key] = self.store.get_or_none(key)
            except AccessDeniedError as error:
                self.denied = self.denied or error
                self._read[key] = None
        data = self._read[key]
        if data is None:
            return None
        try:
            value = json.loads(data)
        except ValueError as error:
            raise NotOmeZarrError(f"{self.where(key)} is damaged: {error}") from None
        if not isinstance(value, dict):
            raise NotOmeZarrError(f"{self.where(key)} is damaged: expected a JSON object")
        return value

    def _consolidated(self, key: str) -> dict[str, Any] | None:
        """Look into the consolidated documents of this group, which must be the topmost one."""
        path, _, name = key.rpartition("/")
        if key in ("zarr.json", ".zmetadata"):
            return None
        if name == "zarr.json":
            found = (self._own("zarr.json") or {}).get("consolidated_metadata")
            wanted = path
        else:
            found, wanted = self._own(".zmetadata"), key
        documents = found.get("metadata") if isinstance(found, dict) else None
        document = documents.get(wanted) if isinstance(documents, dict) else None
        return document if isinstance(document, dict) else None
