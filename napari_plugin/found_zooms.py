"""The zoom in a viewer: what a person asked for, and what was found for each label image that was prompted."""

from __future__ import annotations

from typing import Literal

Zoom = float | Literal["auto"]
Key = tuple[str, str]
"""URL of the volume, name of the label image."""


class FoundZooms:
    """Decides once for each label image, from the first objects prompted in it. Used on the GUI thread.

    Attributes
    ----------
    asked
        A number that a person gave for all, or ``auto``.
    key
        The label image in view; None before there is one.
    """

    def __init__(self) -> None:
        self.asked: Zoom = "auto"
        self.key: Key | None = None
        self._found: dict[Key, float] = {}
        self._looking: tuple[Key, int] | None = None
        self._tickets = 0

    @property
    def known(self) -> Zoom:
        """The zoom of the label image in view; ``auto`` where it is not found yet."""
        if self.asked != "auto":
            return self.asked
        return "auto" if self.key is None else self._found.get(self.key, "auto")

    @property
    def number(self) -> float:
        """The same as a number: 1, as the data are stored, where it is not found yet."""
        return 1.0 if self.known == "auto" else float(self.known)

    @property
    def is_open(self) -> bool:
        """Whether the zoom of the label image in view is to be found, and nobody is looking."""
        sought = None if self._looking is None else self._looking[0]
        return self.key is not None and self.known == "auto" and sought != self.key

    def look_at(self, key: Key) -> None:
        """Go to a label image."""
        self.key = key

    def ask(self, zoom: Zoom, *, anew: bool) -> None:
        """Take what a person asked for; `anew` forgets what was found, because another model likes other sizes."""
        if anew or zoom != self.asked:
            self._found, self._looking = {}, None
        self.asked = zoom

    def begin(self) -> int | None:
        """Note that somebody looks for the zoom of the label image in view: a ticket; None where nobody needs to."""
        if self.key is None or not self.is_open:
            return None
        self._tickets += 1
        self._looking = self.key, self._tickets
        return self._tickets

    def end(self, ticket: int, zoom: float | None) -> bool:
        """Take what was found (None: nothing) by who holds a ticket, unless something else was asked for meanwhile.

        Returns
        -------
        bool
            Whether it was taken.
        """
        if self._looking is None or self._looking[1] != ticket:
            return False
        if zoom is not None:
            self._found[self._looking[0]] = zoom
        self._looking = None
        return zoom is not None
