"""What can be undone and redone: the operations of all sessions, newest first, as the journal and memory have them.

An operation, its undo, the redo of that … form a chain; only the chain's last link says whether it is done or undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from volseg.editing.conflict import EditConflictError
from volseg.editing.deltas import common_voxels
from volseg.editing.journal import Journal
from volseg.editing.record import Operation, Record
from volseg.editing.state import Clash, EditState
from volseg.geometry import Triple

_READ_AHEAD = 8


@dataclass(frozen=True)
class Link:
    """One operation and where it stands.

    Parameters
    ----------
    operation
        What was done.
    annotator, session
        By whom.
    number
        Of its record; None while it is pending.
    """

    operation: Operation
    annotator: str
    session: str
    number: int | None

    @property
    def done(self) -> bool:
        """False for an undo."""
        return self.operation.done

    @property
    def is_root(self) -> bool:
        """True for what a person did, false for undos and redos."""
        return self.operation.inverts is None


class Timeline:
    """The chains of one label image.

    Parameters
    ----------
    journal, state
        Of one editor. Methods are called under the editor's lock, except `read_older`.
    annotator
        Who edits.
    """

    def __init__(self, journal: Journal, state: EditState, annotator: str) -> None:
        self._journal = journal
        self._state = state
        self._annotator = annotator
        self._older: list[Record] = []  # newest first
        self._oldest = state.floor  # number of the newest record that is not in memory

    @property
    def complete(self) -> bool:
        """Whether the journal's first record is in memory."""
        return self._oldest == 0

    def read_older(self) -> None:
        """Read some records before the oldest known one."""
        first = max(1, self._oldest - _READ_AHEAD + 1)
        found = list(self._journal.between(first, self._oldest))
        self._older += reversed(found)
        self._oldest = first - 1

    def links(self) -> Iterator[Link]:
        """Yield what is in memory, newest first."""
        for item in reversed(self._state.pending):
            yield Link(item.operation, self._annotator, self._state.session, None)
        for records in (reversed(self._state.records), self._older):
            for record in records:
                for operation in reversed(record.operations):
                    yield Link(operation, record.annotator, record.session, record.number)

    def to_undo(self, name: str | None) -> tuple[Link, list[Link]] | None:
        """Return what undo takes back, and what is later: this session's newest first, then anybody's.

        Parameters
        ----------
        name
            A certain operation's `uuid`, or None.
        """
        if name is not None:
            return self._find(lambda link: link.operation.chain == name and link.done)
        own = self._find(lambda link: link.done and link.session == self._state.session)
        return own or self._find(lambda link: link.done)

    def to_redo(self, name: str | None) -> tuple[Link, list[Link]] | None:
        """Return the undo that redo takes back, and what is later; something new since takes redo away."""
        if name is not None:
            return self._find(lambda link: link.operation.chain == name and not link.done)
        found = self._find(lambda link: not link.done and link.session == self._state.session)
        found = found or self._find(lambda link: not link.done)
        if found is None:
            return None
        people = {found[0].annotator, self._annotator}
        if any(link.is_root and link.annotator in people for link in found[1]):
            return None
        return found

    def step_of(self, link: Link) -> list[tuple[Link, list[Link]]]:
        """Return what is one step of undo with a link, newest first, each with what is later and no part of the step.

        Operations whose details name the same "group" are one step, as the parts of a propagation are.
        """
        group = link.operation.details.get("group")
        found: list[tuple[Link, list[Link]]] = []
        later: list[Link] = []
        seen: set[str] = set()
        for other in self.links():
            chain = other.operation.chain
            same = (
                chain == link.operation.chain
                if group is None
                else (other.operation.details.get("group") == group and other.done == link.done)
            )
            if chain not in seen and same:
                found.append((other, list(later)))
                if group is None:
                    break
            else:
                later.append(other)
            seen.add(chain)
        return found

    def _find(self, wanted: Callable[[Link], bool]) -> tuple[Link, list[Link]] | None:
        later: list[Link] = []
        seen: set[str] = set()
        for link in self.links():
            chain = link.operation.chain
            if chain not in seen and link.operation.run is None and wanted(link):
                return link, later
            seen.add(chain)
            later.append(link)
        return None


def check_free(link: Link, later: Sequence[Link], chunks: Triple, where: str) -> None:
    """Raise if something later, that is not itself taken back, touches what an operation changed.

    Parameters
    ----------
    link
        The operation to take back.
    later
        What came after it, newest first.
    chunks
        Voxels of a chunk (z, y, x).
    where
        Place of the labels, for the message.

    Raises
    ------
    EditConflictError
        With who and where.
    """
    chains: dict[str, list[Link]] = defaultdict(list)
    for other in later:
        chains[other.operation.chain].append(other)
    places = defaultdict(list)
    for delta in link.operation.deltas:
        places[delta.place(chunks)].append(delta)
    clashes = []
    for links in chains.values():
        if len(links) % 2 == 0:
            continue  # done and taken back since: no change left
        other = links[0]
        number = other.number or 0
        if other.operation.classes.keys() & link.operation.classes.keys():
            clashes.append(Clash(None, 0, other.annotator, number, link.operation))
        for theirs in other.operation.deltas:
            place = theirs.place(chunks)
            common = sum(common_voxels(theirs, delta) for delta in places.get(place, ()))
            if common:
                clashes.append(Clash(place, common, other.annotator, number, link.operation))
    if clashes:
        raise EditConflictError(
            f"{where}: can't take back {link.operation.kind!r}: since then, {clashes[0]}. "
            f"Take that one back first: editor.undo({_name_of(clashes[0], later)!r})",
            clashes,
        )


def _name_of(clash: Clash, later: Sequence[Link]) -> str:
    for link in later:
        if (link.number or 0) == clash.number:
            return link.operation.chain
    return ""
