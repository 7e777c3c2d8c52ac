"""Connections from models, which live long, to widgets, which people close."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget


def while_alive(widget: QWidget, name: str) -> Any:
    """Return a function that calls a method of a widget, and does nothing once the widget is gone.

    Parameters
    ----------
    widget
        Held weakly.
    name
        Of the method.
    """
    weak = weakref.ref(widget)

    def call(*values: Any) -> None:
        found = weak()
        if found is not None and isalive(found):
            getattr(found, name)(*values)

    return call
