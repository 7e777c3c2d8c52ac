"""What may be replaced: only whole things of volseg's, and people's work only where that was said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from volseg.errors import ExistsError, InputError
from volseg.images.targets.contents import Contents, Kind
from volseg.images.targets.places import CHOOSE
from volseg.storage import Location


@dataclass(frozen=True)
class Permission:
    """What somebody allowed to be replaced.

    Parameters
    ----------
    overwrite
        A whole thing of volseg's of the same kind.
    overwrite_edits
        Also where it holds label images or people's edits.
    """

    overwrite: bool = False
    overwrite_edits: bool = False

    def check(self, there: Contents, wanted: Kind, name: str | Location) -> None:
        """Refuse to replace what lies at a place, unless it is nothing or was allowed.

        Parameters
        ----------
        there
            What lies there.
        wanted
            The kind of thing that is to lie there.
        name
            How messages call the place.

        Raises
        ------
        ExistsError
            If it would have to be allowed, and how.
        InputError
            If it is not volseg's, or holds what is not: whatever was allowed.
        """
        if there.kind == "nothing":
            return
        if there.kind == "other":
            raise ExistsError(
                f"{name} exists already and was not written by volseg ({there.name_strangers()}); "
                f"it is never replaced. {CHOOSE.capitalize()}"
            )
        if there.kind != wanted:
            raise ExistsError(
                f"{name} exists already and is {_A[there.kind]}, not {_A[wanted]}; {CHOOSE}"
            )
        if not self.overwrite:
            raise ExistsError(
                f"{name} exists already; {CHOOSE}, or replace it with overwrite (--overwrite)"
            )
        if there.n_strangers:
            raise InputError(
                f"{name} holds what is not volseg's: {there.name_strangers()}; move that elsewhere, or {CHOOSE}"
            )
        self._check_work(there, name)

    def _check_work(self, there: Contents, name: str | Location) -> None:
        work = there.labels if there.kind == "volume" else there.edited
        if work and not self.overwrite_edits:
            raise ExistsError(
                f"{name} holds {_work(work)}; to replace that too, add overwrite_edits "
                f"(--overwrite-edits) to --overwrite, or {CHOOSE}"
            )


NO_PERMISSION = Permission()

_A: dict[Kind, str] = {
    "nothing": "nothing",
    "volume": "a volume",
    "labels": "a place for label images",
    "label image": "a label image",
    "export": "an export",
    "demonstration": "a demonstration",
    "prompts file": "a prompts file",
    "report page": "a report page",
    "other": "something else",
}


def _work(labels: Iterable[object]) -> str:
    listed = [str(one) for one in labels]
    return f"the label image{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
