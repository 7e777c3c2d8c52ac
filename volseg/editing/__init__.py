"""Editing label images in place: a journal that alone decides, a chunk cache, conditional puts, undo and history."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
