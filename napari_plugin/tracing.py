"""Tracks of a plan without labels: the first three stages of a segment job, stored and resumable as those are.

The plugin brings tracks into the labels as edits, so that they can be taken back and never touch what people did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from volseg.errors import BlocksFailedError
from volseg.progress import Progress, silent
from volseg.propagation.track import Track

if TYPE_CHECKING:
    from volseg.engine.block import Stage
    from volseg.engine.cancel import Cancel
    from volseg.engine.ledger import Ledger
    from volseg.pipelines.segmentation.plan import Plan


class TraceJob:
    """A plan's stages up to the settled tracks.

    Parameters
    ----------
    plan
        Of a segment job.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hash = plan.hash

    def __reduce__(self) -> tuple[type[TraceJob], tuple[Plan]]:
        return TraceJob, (self.plan,)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """seed, propagate, settle."""
        from volseg.pipelines.segmentation.groups import Found, make_groups
        from volseg.pipelines.segmentation.mask_stages import PropagateStage, SeedStage, SettleStage
        from volseg.pipelines.segmentation.worker_context import prompts_of

        plan, found = self.plan, Found()
        geometry = plan.geometry
        groups = make_groups(prompts_of(plan), geometry.tile, geometry.group, plan.source.shape)
        return [kind(plan, groups, found) for kind in (SeedStage, PropagateStage, SettleStage)]


class WholeRun:
    """How far a run is as a whole: its stages one after the other, each at most as long as its plan says.

    Parameters
    ----------
    plan
        Of the run.
    """

    STAGES = ("seed", "propagate", "settle")

    def __init__(self, plan: Plan) -> None:
        blocks = plan.estimates.blocks_at_most
        self._most = {stage: blocks[stage] for stage in self.STAGES}

    def after(self, stage: str, done: int) -> tuple[int, int]:
        """Return how many blocks of how many are done, at most, after `done` of a stage."""
        before = 0
        for name, most in self._most.items():
            if name == stage:
                return before + min(done, most), sum(self._most.values())
            before += most
        return before, before


def trace(
    plan: Plan, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> dict[int, Track]:
    """Follow a plan's objects in this process; what an earlier attempt of the same plan did is not done again.

    Parameters
    ----------
    plan
        From `make_plan`.
    progress
        Told after every block, with its name.
    cancel
        Request to stop.

    Returns
    -------
    dict
        Object id → track.

    Raises
    ------
    InterruptedRunError
        Stopped on request; called again it goes on.
    BlocksFailedError
        Some objects could not be followed; the others' tracks are stored.
    """
    from volseg.engine.ledger import Ledger
    from volseg.engine.session import run_session
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation.tracks import read_tracks

    volume = open_volume(plan.url, plan.labels_at)
    ledger = Ledger(volume.output_store, plan.hash)
    ledger.write_plan(plan.to_json())
    end = run_session(TraceJob(plan), ledger, progress=progress or silent, cancel=cancel)
    if end.status != "done":
        told = "; ".join(f"{one.block}: {one.error}" for one in end.failures[:3])
        raise BlocksFailedError(
            f"{len(end.failures)} parts of run {plan.hash[:12]} failed: {told}. Propagate again to try them once more"
        )
    return read_tracks(volume, plan)


def pieces_of(ledger: Ledger, block: str) -> Mapping[int, Track]:
    """What one finished block of a run found so far, by object; empty for blocks that find nothing.

    Parameters
    ----------
    ledger
        Of the run.
    block
        Its name, as progress tells it: ``g000000`` of the seeds, or ``g000000-up-00003``.
    """
    from volseg.pipelines.segmentation.track_state import unpack
    from volseg.pipelines.segmentation.worker_context import seeds_name

    name = f"pieces/{block}" if block.count("-") == 2 else seeds_name(int(block[1:]))
    data = ledger.store.get_or_none(ledger.key(f"data/{name}"))
    found = {}
    for part, content in ({} if data is None else unpack(data)).items():
        if not part.startswith("state/"):
            found[int(part.removeprefix("piece/"))] = Track.from_bytes(content)
    return found
