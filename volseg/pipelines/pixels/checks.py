"""Before a run computes anything: what may stop it is checked, and what it starts from is written."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from volseg.engine.lease import Lease, read_lease
from volseg.engine.ledger import Ledger
from volseg.errors import ExistsError, ModelUnavailableError, PlanMismatchError, VolsegError
from volseg.pipelines.pixels.plan import PixelPlan

if TYPE_CHECKING:
    from distributed import Client

    from volseg.images.image import Volume

PREPARED = "prepared.json"


def check(plan: PixelPlan, volume: Volume, client: Client | None) -> None:
    """Check image, classifier and workers before the first write."""
    from volseg.classify.voxels.classifier import VoxelClassifier

    volume.check_output()
    if volume.identity(plan.source.level) != plan.source.identity:
        raise PlanMismatchError(
            f"{volume.location}, level {plan.source.level}, is no longer the array that the plan was made for; make "
            "a new plan"
        )
    if client is not None:
        from volseg.engine.executors import memory_per_worker

        plan.check_budget(memory_per_worker(client))
    _, manifest, _ = VoxelClassifier.load(plan.model)
    if manifest["sha256"] != plan.classifier.sha256:
        raise ModelUnavailableError(
            f"{plan.model} is no longer the classifier that the plan was made for; make a new plan"
        )


def refuse_existing(plan: PixelPlan, volume: Volume, resume: bool, restart: bool) -> None:
    """Refuse what would replace anything that nobody asked to replace.

    Raises
    ------
    ExistsError
        There are label images or maps of these names.
    PlanMismatchError
        They are another run's, and this one is to be resumed.
    """
    from volseg.classify.voxels.maps import check_maps
    from volseg.images.labels import check_label_image
    from volseg.images.targets.permission import Permission

    ours = is_prepared(plan, volume)
    if resume and ours:
        return
    may = plan.overwrite or (restart and ours)
    for name in label_names_of(plan):
        if name not in volume.labels or may:
            check_label_image(volume, name, Permission(may, plan.overwrite_edits))
        elif resume:
            raise PlanMismatchError(
                f"label image {name!r} of {volume.output_store.location} was made by another plan; resume with the "
                "arguments of that run, or start anew with --overwrite"
            )
        else:
            raise ExistsError(
                f"label image {name!r} exists in {volume.output_store.location}; choose another name, replace it "
                "with --overwrite, or continue its run with --resume"
            )
    if plan.outputs.maps is not None:
        check_maps(volume, plan.outputs.maps, overwrite=may)


def is_prepared(plan: PixelPlan, volume: Volume) -> bool:
    """Whether what the plan writes was made for it, and nothing of that was replaced since."""
    ledger = Ledger(volume.output_store, plan.hash)
    if ledger.read_json(PREPARED) is None:
        return False
    record = read_lease(volume.output_store, plan.outputs.labels)
    there = all(name in volume.labels for name in label_names_of(plan))
    return there and record is not None and record.run == plan.hash


def label_names_of(plan: PixelPlan) -> list[str]:
    """Return the names of the label images that a plan writes."""
    instances = plan.outputs.instances
    return [plan.outputs.labels, *([] if instances is None else [instances])]


def prepare(plan: PixelPlan, volume: Volume, ledger: Ledger, lease: Lease, resume: bool) -> None:
    """Write plan, classifier and what is to be filled; undone where that fails."""
    from volseg.classify.voxels.maps import create_maps

    ours = lease.previous is not None and lease.previous.run == plan.hash
    if resume and ours and ledger.read_json(PREPARED) is not None:
        return
    existed = [name for name in label_names_of(plan) if name in volume.labels]
    try:
        ledger.delete()
        ledger.write_plan(plan.to_json())
        _copy_classifier(plan, ledger)
        named = {n: name for n, name in plan.classifier.classes.items() if name}
        for name in label_names_of(plan):
            volume.create_labels(
                name,
                "uint32" if name == plan.outputs.instances else "uint8",
                level=plan.source.level,
                channel=list(plan.source.channels),
                overwrite=name in existed,
                overwrite_edits=plan.overwrite_edits,
                classes=None if name == plan.outputs.instances else named,
            )
        if plan.outputs.maps is not None:
            create_maps(volume, plan.outputs.maps, plan.classifier.classes, level=plan.source.level)
        ledger.write_json(PREPARED, True)
    except BaseException:
        with suppress(VolsegError, OSError):
            ledger.delete()
            if not existed:
                lease.forget()
        raise


def _copy_classifier(plan: PixelPlan, ledger: Ledger) -> None:
    """Put the classifier beside the run, where every worker finds it."""
    import json

    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.models.folder import MANIFEST
    from volseg.pipelines.pixels.worker_context import MODEL

    _, manifest, files = VoxelClassifier.load(plan.model)
    content = {**files, MANIFEST: json.dumps(manifest).encode()}
    for name, data in content.items():
        ledger.store.put(ledger.key(f"data/{MODEL}/{name}"), data)
