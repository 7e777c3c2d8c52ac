"""Which object of another label image each object lies in: the one that holds most of it, and at least half."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError
from volseg.images.scan import nesting_shares
from volseg.pipelines.objects.annotating import list_objects
from volseg.pipelines.objects.sources import ObjectKey
from volseg.progress import Progress

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.objects import ObjectRow

HALF = 0.5
SHOWN = 20


@dataclass(frozen=True)
class Parents:
    """What became of the children.

    Attributes
    ----------
    parents
        The parent of each child that has one, by time and id.
    orphans
        Children of which no object holds half.
    several
        Children that lie in several objects, with the voxels in each, the largest first.
    """

    parents: dict[ObjectKey, int]
    orphans: tuple[ObjectKey, ...]
    several: dict[ObjectKey, dict[int, int]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "parents": [[t, i, p] for (t, i), p in sorted(self.parents.items())],
            "orphans": [list(key) for key in self.orphans],
            "several": [
                {"time": t, "id": i, "voxels": {str(p): n for p, n in shares.items()}}
                for (t, i), shares in sorted(self.several.items())
            ],
        }

    def describe(self) -> str:
        """For people, a few lines."""
        lines = [
            f"{len(self.parents)} with a parent, {len(self.orphans)} orphans, {len(self.several)} in several"
        ]
        for title, keys in (("orphans", self.orphans), ("in several", tuple(sorted(self.several)))):
            if keys:
                told = ", ".join(f"{i}" if t == 0 else f"{i} (time {t})" for t, i in keys[:SHOWN])
                more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
                lines.append(f"  {title}: {told}{more}")
        return "\n".join(lines)


def find_parents(
    volume: Volume, child: str, parent: str, *, progress: Progress | None = None
) -> Parents:
    """Fill `parent` in the table of objects, block by block; of an orphan it becomes empty.

    Parameters
    ----------
    volume
        The image.
    child, parent
        Its label images, of the same voxels.
    progress
        Told after every block.

    Raises
    ------
    InputError
        The label images have different voxels, or are one.
    """
    if child == parent:
        raise InputError(f"{child} can't be its own parent; name two label images")
    children = volume.labels[child]
    shares = nesting_shares(children, volume.labels[parent], progress=progress)
    found: dict[ObjectKey, int] = {}
    orphans, several = [], {}
    for key, share in sorted(shares.items()):
        inside = {p: n for p, n in share.items() if p != 0}
        ranked = dict(sorted(inside.items(), key=lambda one: (-one[1], one[0])))
        best = next(iter(ranked), None)
        if best is not None and ranked[best] >= HALF * sum(share.values()):
            found[key] = best
        else:
            orphans.append(key)
        if len(ranked) > 1:
            several[key] = ranked
    list_objects(children, (i for _, i in shares))

    def changed(rows: dict[ObjectKey, ObjectRow]) -> dict[ObjectKey, ObjectRow]:
        return {key: replace(row, parent=found.get(key)) for key, row in rows.items()}

    children.objects.change(changed)
    children.objects.publish()
    return Parents(found, tuple(orphans), several)
