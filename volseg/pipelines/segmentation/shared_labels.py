"""A job's label image while others may write it, too: blocks by compare-and-swap, people's voxels kept.

Every write here reads an object with its tag, asks the journal, and puts conditionally, so that neither an edit nor a
block is lost, whoever comes first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.editing.chunks import StoredLevel
from volseg.editing.index import JournalIndex
from volseg.editing.journal import Journal
from volseg.editing.runs import RunWriter
from volseg.engine.block import Output
from volseg.geometry import Region

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.plan import Plan
    from volseg.propagation import Track

Scored = Sequence[tuple[int, "Track", float]]
"""(object id, track, score) of the tracks that meet a block."""


def has_records(labels: Labels) -> bool:
    """Whether anybody, person or run, ever wrote through the journal; one request."""
    return Journal(labels.store).read(1) is not None


class SharedLabels:
    """Writes a plan's blocks into its label image among others. One per worker.

    Parameters
    ----------
    plan
        The plan.
    labels
        Its label image.
    """

    def __init__(self, plan: Plan, labels: Labels) -> None:
        self._plan = plan
        self._labels = labels
        self._index = JournalIndex(labels)
        self._writer = RunWriter(labels, self._index, plan.geometry.owned)
        self._levels = [StoredLevel(level) for level in labels.levels]
        self._lock = threading.Lock()

    def compose(
        self, region: Region, tracks: Scored, replaced: Sequence[int], context: BlockContext
    ) -> tuple[list[Output], dict[Region, NDArray[np.integer]]]:
        """Paint tracks into a block and renew the coarser levels that it owns.

        The tracks take background and the voxels of the run's own objects, which are cleared where their new tracks
        don't lie. Other objects stay, and so does whatever a person edited last.

        Parameters
        ----------
        region
            Voxels of level 0: whole storage objects of every owned level.
        tracks
            Of the run.
        replaced
            Ids of the run whose former voxels may lie here.
        context
            Its lease is compared before each put.

        Returns
        -------
        outputs
            What is stored now, of all owned levels; noted for the block's marker, too.
        made
            (z, y, x) ids of the run's objects, 0 elsewhere, by the region of each object of level 0.
        """
        from volseg.propagation import compose_block

        plan, time = self._plan, self._plan.source.time
        ours = np.asarray(sorted({*replaced, *(i for i, _, _ in tracks)}), dtype=plan.labels.dtype)
        over = plan.existing is not None and plan.existing.overwrite_edits
        made: dict[Region, NDArray[np.integer]] = {}

        def combine(
            block: NDArray[np.integer], owned: NDArray[np.bool_], part: Region
        ) -> NDArray[np.unsignedinteger]:
            context.check()
            painted = compose_block(part, tracks, plan.labels.dtype)
            former = np.isin(block, ours)
            free = (block == 0) | former
            if over:
                free |= self._index.person_edited(part, time, forget=False)
            new = np.where((painted > 0) & free, painted, np.where(former, 0, block))
            if owned.any():
                by_hand, values = self._index.person_values(part, time)
                new = np.where(by_hand, values, new)
            made[part] = np.where(np.isin(new, ours), new, 0)
            return new

        with self._lock:
            self._writer.write(region, combine, time=time)
        outputs = []
        total = (1, 1, 1)
        for level in range(plan.geometry.owned):
            f = plan.geometry.levels[level].factors
            total = (total[0] * f[0], total[1] * f[1], total[2] * f[2])
            outputs += self._stored(level, _coarse(region, total, self._levels[level].shape))
        context.outputs += outputs
        return outputs, made

    def renew(self, level: int, region: Region, context: BlockContext) -> list[Output]:
        """Make whole objects of a coarser level anew from the level below; noted for the block's marker."""
        context.check()
        with self._lock:
            self._writer.renew(level, region, time=self._plan.source.time)
        outputs = self._stored(level, region)
        context.outputs += outputs
        return outputs

    def _stored(self, index: int, region: Region) -> list[Output]:
        """The objects of a region as they are now, people's latest edits included."""
        from volseg.storage import digest

        level = self._levels[index]
        outputs = []
        for place in level.places(self._plan.source.time, region):
            key = level.key(place)
            found = level.store.get_with_etag(key)
            name = f"labels/{self._labels.name}/{key}"
            if found is None:
                outputs.append(Output(name, 0, "", ""))
            else:
                outputs.append(Output(name, len(found[0]), found[1], digest(found[0])))
        return outputs


def _coarse(region: Region, factors: Sequence[int], shape: Sequence[int]) -> Region:
    """A region of level 0 on a coarser level, whose last voxels an image may have rounded away."""
    z, y, x = (
        (low // f, min(-(-high // f), n))
        for (low, high), f, n in zip(region, factors, shape, strict=True)
    )
    return (z, y, x)
