"""The keys of editing and of the table of objects; see `napari_plugin.keys` for the others and for what is checked."""

from __future__ import annotations

from napari_plugin.keys import Key

EDIT_KEYS: tuple[Key, ...] = ()
