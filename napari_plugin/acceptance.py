"""A mask on its way into the labels: whose voxels it covers, and what is done about it. Functions of an open editor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volseg.propagation.window import MaskWindow

if TYPE_CHECKING:
    from volseg.editing import Editor

Rule = Literal["ask", "rest", "take"]
"""About the voxels of other objects: ask where they are many, leave them, take them over."""
MOST_OWNED = 0.25
"""Share of a mask that others may own without a question: neighbours' borders overlap by less."""


@dataclass(frozen=True)
class Overlap:
    """A mask of which other objects own much.

    Parameters
    ----------
    object_id, z, time
        Whose mask, on which slice.
    area
        Voxels of the mask.
    owners
        Other objects by the voxels of the mask that they own, most first.
    """

    object_id: int
    z: int
    time: int
    area: int
    owners: Mapping[int, int]

    @property
    def rest(self) -> int:
        """Voxels of the mask that no other object owns."""
        return self.area - sum(self.owners.values())

    @property
    def main(self) -> int:
        """The object that owns most."""
        return next(iter(self.owners))

    def __str__(self) -> str:
        share = 100 * (1 - self.rest / self.area)
        named = [str(one) for one in self.owners][:3]
        others = ("object " if len(named) == 1 else "objects ") + ", ".join(named)
        return (
            f"{share:.0f} % of the mask of object {self.object_id} on slice {self.z} belongs to {others}; "
            f"{self.rest} of {self.area} voxels are free"
        )


def accept_mask(
    editor: Editor,
    object_id: int,
    z: int,
    mask: MaskWindow,
    *,
    time: int,
    rule: Rule,
    prompt: Mapping[str, Any],
) -> Overlap | None:
    """Give an object a mask on a slice instead of what it had there, as one operation.

    Parameters
    ----------
    editor
        Of the label image.
    object_id, z, time
        Whose, and where.
    mask
        Voxels of the slice.
    rule
        About other objects' voxels.
    prompt
        Stands in the journal, so that taking the operation back takes the prompt back.

    Returns
    -------
    Overlap or None
        What is to be asked first; then nothing was changed.
    """
    editor.time = time
    mask = mask.clipped(editor.shape[1:])
    owners = owners_of(editor, object_id, z, mask)
    if rule == "ask" and sum(owners.values()) > MOST_OWNED * mask.area:
        return Overlap(object_id, z, time, mask.area, owners)
    with editor.stroke("prompt", ids=[object_id], prompt=dict(prompt)):
        editor.clear_slice(object_id, z)
        editor.paint(z, mask.mask, object_id, origin=mask.origin, protect=rule != "take")
    return None


def owners_of(editor: Editor, object_id: int, z: int, mask: MaskWindow) -> dict[int, int]:
    """Return the other objects that own voxels of a mask, by how many, most first."""
    y0, x0, y1, x1 = mask.box
    block = np.asarray(editor[z, y0:y1, x0:x1])
    ids, numbers = np.unique(block[mask.mask], return_counts=True)
    found = {int(i): int(n) for i, n in zip(ids, numbers, strict=True) if i not in (0, object_id)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
