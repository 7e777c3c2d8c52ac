"""`LabelsMapping`: the label images of a volume by name, also where some of them can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from volseg.errors import AccessDeniedError, InputError
from volseg.images.image import Volume
from volseg.images.labels import Labels, listed_names, open_labels, place_of


class LabelsMapping(Mapping[str, Labels]):
    """The label images of a volume by name; each is opened once, when asked for.

    Those that can't be read (removed, damaged, of real numbers, oddly named) are passed over by iteration, and told by
    `unreadable`; asking for one by name raises its error.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._opened: dict[str, Labels] = {}

    def __getitem__(self, name: str) -> Labels:
        if name not in self._opened:
            self._opened[name] = open_labels(self._volume, name)
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, why in self._tried() if why is None)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in listed_names(self._volume) and place_of(self._volume, str(name)) is not None

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, listed_names(self._volume)))}}}"

    @property
    def unreadable(self) -> dict[str, str]:
        """What is listed and can't be read, with the reason."""
        return {name: why for name, why in self._tried() if why is not None}

    def _tried(self) -> list[tuple[str, str | None]]:
        """Open everything that is listed, several at once; each name with the reason where that fails."""

        def reason(name: str) -> str | None:
            try:
                _ = self[name]
            except (InputError, AccessDeniedError) as error:
                return str(error)
            return None

        names = listed_names(self._volume)
        with ThreadPoolExecutor(8) as pool:
            return list(zip(names, pool.map(reason, names), strict=True))
