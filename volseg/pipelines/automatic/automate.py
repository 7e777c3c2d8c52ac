"""A whole volume without a click: the automatic job and, for separate objects, the segment job on what it proposes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from volseg.engine.ledger import Ledger
from volseg.pipelines.automatic.job import create_labels, run
from volseg.pipelines.automatic.options import AutoOptions
from volseg.pipelines.automatic.plan import AutoPlan
from volseg.pipelines.automatic.planner import make_plan
from volseg.progress import Progress

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.job import RunResult
    from volseg.pipelines.segmentation.plan import Plan as SegmentPlan
    from volseg.prompts import PromptSet

NOTHING = "nothing was found that looks like an object"


@dataclass(frozen=True)
class AutoResult:
    """How an automatic job ended.

    Parameters
    ----------
    plan
        What was run.
    report
        Of the automatic job, as stored with its run.
    proposals
        What was proposed; None for regions, or where nothing was found.
    segmented
        How segmenting the proposals ended; None where there was nothing to segment.
    """

    plan: AutoPlan
    report: dict[str, Any]
    proposals: PromptSet | None = None
    segmented: RunResult | None = None

    @property
    def labels(self) -> Labels:
        """The label image."""
        from volseg.images.image import open_volume

        return open_volume(self.plan.url, self.plan.labels_at).labels[self.plan.labels]

    @property
    def made(self) -> int:
        """Number of objects that were made."""
        if self.plan.method == "regions":
            return len(self.labels.objects.rows(self.plan.source.time))
        return 0 if self.segmented is None else int(self.segmented.report["objects"]["made"])

    def to_json(self) -> dict[str, Any]:
        """Status, places and reports as JSON values."""
        return {
            "status": "done",
            "plan": self.plan.hash,
            "url": self.plan.url,
            "labels": self.plan.labels,
            "method": self.plan.method,
            "zoom": self.plan.maps.zoom,
            "proposals": None if self.proposals is None else len(self.proposals.objects),
            "made": self.made,
            "seconds": self.report["seconds"],
            "stages": self.report["stages"],
            "segmented": None if self.segmented is None else self.segmented.to_json(),
        }

    def describe(self) -> str:
        """Return the result for people, a few lines."""
        place = self.plan.labels_at or self.plan.url
        end = f"in {self.report['seconds']:.1f} s (run {self.plan.hash[:12]})"
        if self.plan.method == "regions":
            made = self.made
            said = f"{made} regions" if made else f"{NOTHING}, 0 regions"
            doubtful = [row for row in self.labels.objects.rows() if row.confidence is not None]
            doubtful.sort(key=lambda row: (row.confidence, row.id))
            lines = [f"labels {self.plan.labels} in {place}: {said} {end}"]
            if doubtful:
                listed = ", ".join(f"{row.id} ({row.confidence:.2f})" for row in doubtful[:5])
                lines.append(f"  least sure of: {listed}")
            return "\n".join(lines)
        if self.proposals is None:
            return f"labels {self.plan.labels} in {place}: {NOTHING}, 0 objects {end}"
        count = len(self.proposals.objects)
        lines = [f"{count} {'object' if count == 1 else 'objects'} proposed {end}"]
        return "\n".join(lines + ([] if self.segmented is None else [self.segmented.describe()]))


def run_automatic(
    plan: AutoPlan,
    cluster: str | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    break_lease: bool = False,
    only_propose: bool = False,
) -> AutoResult:
    """Run a plan and, for separate objects, segment what it proposes.

    Parameters
    ----------
    plan
        From `make_plan`.
    cluster, workers, progress, resume, restart, break_lease
        As for `volseg.run`.
    only_propose
        Stop once there are proposals; for regions it says nothing.
    """
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation.job import run_on_cluster

    how: dict[str, Any] = {
        "workers": workers, "progress": progress, "resume": resume, "restart": restart,
        "break_lease": break_lease,
    }  # fmt: skip
    report = run(plan, cluster, **how)
    if plan.method == "regions":
        return AutoResult(plan, report)
    volume = open_volume(plan.url, plan.labels_at)
    proposals = stored_proposals(plan, volume)
    if only_propose:
        return AutoResult(plan, report, proposals)
    if proposals is None:
        if not plan.existing and not (resume and plan.labels in volume.labels):
            create_labels(plan, volume, overwrite=plan.labels in volume.labels)
        return AutoResult(plan, report)
    segmented = run_on_cluster(segment_plan(plan, volume, proposals, resume), cluster, **how)
    return AutoResult(plan, report, proposals, segmented)


def stored_proposals(plan: AutoPlan, volume: Volume) -> PromptSet | None:
    """Return what a run has proposed, None for nothing."""
    from volseg.pipelines.automatic.seed_stage import PROPOSALS
    from volseg.prompts import as_prompts

    ledger = Ledger(volume.output_store, plan.hash)
    text = ledger.store.get(ledger.key(f"data/{PROPOSALS}"))
    return as_prompts(json.loads(text)) if text else None


def segment_plan(plan: AutoPlan, volume: Volume, proposals: PromptSet, resume: bool) -> SegmentPlan:
    """Return the plan that segments proposals as the automatic plan looks at the image."""
    from volseg.pipelines.segmentation.options import SegmentOptions
    from volseg.pipelines.segmentation.planner import make_plan as plan_segments

    options = SegmentOptions.of(
        labels=plan.labels,
        model=plan.predictor.model_dump(mode="json"),
        channel=list(plan.source.channels),
        level=plan.source.level,
        time=plan.source.time,
        zoom=plan.maps.zoom,
        overwrite=plan.overwrite,
        into_existing=plan.existing,
        overwrite_edits=plan.overwrite_edits,
    )
    found = plan_segments(volume, proposals, options, resume=resume)
    return found.model_copy(update={"merge_claims": True})


def automatic(
    volume: Volume | str,
    labels: str = "objects",
    options: AutoOptions | None = None,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    **choices: Any,
) -> AutoResult:
    """Segment a whole volume without any prompt and write it as a label image.

    Parameters
    ----------
    volume
        The image, opened or as a path or URL.
    labels, options, choices
        As `AutoOptions`.
    cluster, workers, progress, resume, restart
        As for `volseg.segment`.

    Raises
    ------
    ModelUnavailableError
        The model has no dense maps.
    """
    from volseg.images.image import Volume, open_volume

    opened = volume if isinstance(volume, Volume) else open_volume(volume)
    chosen = options or AutoOptions.of(labels=labels, **choices)
    return run_automatic(
        make_plan(opened, chosen), cluster, workers=workers, progress=progress, resume=resume,
        restart=restart,
    )  # fmt: skip
