"""The label images that a command is about, and the objects in them that people gave classes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

ObjectKey = tuple[int, int]
"""Time and id."""


@dataclass(frozen=True)
class ObjectSource:
    """A label image of an image."""

    volume: Volume
    name: str

    @property
    def labels(self) -> Labels:
        """The label image, as it is now."""
        return self.volume.labels[self.name]

    def __str__(self) -> str:
        return f"{self.name} of {self.volume.location}"

    def classes_of_people(self) -> dict[ObjectKey, str]:
        """Return the classes that people gave, by time and id."""
        labels = self.labels
        category = labels.metadata.category
        found = {}
        for row in labels.objects.rows():
            class_ = row.class_of_person(category)
            if class_ is not None:
                found[row.time, row.id] = class_
        return found


def as_sources(
    given: Iterable[tuple[Volume | str, str]], labels_at: str | None = None
) -> list[ObjectSource]:
    """Open label images, each an image, or its path or URL, and a name.

    Raises
    ------
    InputError
        If there is none, or one is named twice.
    NotThereError
        If one is not there.
    """
    from volseg.images.image import Volume, open_volume

    sources = []
    for image, name in given:
        volume = image if isinstance(image, Volume) else open_volume(image, labels_at)
        sources.append(ObjectSource(volume, name))
    if not sources:
        raise InputError("no label image was given; name at least one, as an image and its labels")
    places = [one.labels.location.url for one in sources]
    for one, place in zip(sources, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{one} is named twice")
    return sources


def read_sources(words: Sequence[str]) -> list[tuple[str, str]]:
    """Read ``URL NAME [URL NAME …]``: one name or several images before it, and patterns of local paths.

    Raises
    ------
    InputError
        If the last image has no name, or a pattern fits nothing.
    """
    found: list[tuple[str, str]] = []
    images: list[str] = []
    for at, word in enumerate(words):
        if images and (not _is_place(word) or at == len(words) - 1):
            found += [(image, word) for image in images]
            images = []
        else:
            images += _expanded(word)
    if images or not found:
        last = images[-1] if images else "nothing"
        raise InputError(
            f"{last}: expected URL NAME, or several, as in v.zarr cells w.zarr nuclei, or 'plate/*.zarr' cells"
        )
    return found


def _is_place(word: str) -> bool:
    return "/" in word or "\\" in word or word.rstrip("/").endswith(".zarr") or "*" in word


def _expanded(word: str) -> list[str]:
    """The paths that fit a pattern, sorted; the word itself where it is none."""
    import glob
    import os

    if "://" in word or not glob.has_magic(word) or os.path.exists(word):
        return [word]
    fitting = sorted(glob.glob(os.path.expanduser(word)))
    if not fitting:
        raise InputError(f"{word}: no path fits this pattern")
    return fitting
