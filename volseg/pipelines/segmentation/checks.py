"""Before a run computes anything: what may stop it is checked, and what it starts from is written.

Nothing is written until everything was checked.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from volseg.engine.lease import Lease, read_lease
from volseg.engine.ledger import Ledger
from volseg.engine.session import REPORT
from volseg.errors import (
    ExistsError,
    InputError,
    NotThereError,
    PlanMismatchError,
    VolsegError,
)
from volseg.pipelines.segmentation.geometry import levels_of
from volseg.pipelines.segmentation.plan import Plan, Source

if TYPE_CHECKING:
    from typing import Any

    from distributed import Client

    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.images.targets.permission import Permission
    from volseg.prompts import PromptedObject


def stored_plan(volume: Volume, labels: str) -> Plan:
    """The plan that a label image was made by, or is being made by; the last one where several added to it.

    Raises
    ------
    NotThereError
        No run is known for it.
    """
    record = read_lease(volume.output_store, labels)
    if record is None or not record.run:
        raise NotThereError(f"no run is known for label image {labels!r} of {volume.location}")
    return Plan.from_json(Ledger(volume.output_store, record.run).read_plan())


def check(plan: Plan, volume: Volume, client: Client | None) -> None:
    """Everything about image, model, workers and existing labels that can be wrong before the first write."""
    volume.check_output()
    identity = volume.identity(plan.source.level)
    if identity != plan.source.identity:
        raise PlanMismatchError(
            f"{volume.location}, level {plan.source.level}, is no longer the array that the plan was "
            "made for; make a new plan"
        )
    if client is not None:
        from volseg.engine.executors import memory_per_worker

        plan.check_budget(memory_per_worker(client))
    if plan.predictor.kind == "sam":
        from volseg.pipelines.segmentation.sam import check_weights

        check_weights(plan.predictor)
    else:
        from volseg.pipelines.segmentation.predictors import open_oracle

        open_oracle(plan)
    if plan.existing is not None:
        _check_existing(plan, volume)


def _check_existing(plan: Plan, volume: Volume) -> None:
    """The labels that are added to are still those that the plan was made for, and nobody is in the way."""
    labels = existing_labels(volume, plan.labels.name, plan.source, plan.objects)
    if levels_of(labels) != plan.geometry.levels or str(labels.dtype) != plan.labels.dtype:
        raise PlanMismatchError(
            f"{labels.location} has other levels, chunks or ids than when the plan was made; make a new plan"
        )
    if plan.existing is not None and plan.existing.overwrite_edits:
        from volseg.editing.sessions import refuse_open_editors

        refuse_open_editors(labels.store)


def existing_labels(
    volume: Volume, name: str, source: Source, objects: Sequence[PromptedObject]
) -> Labels:
    """The label image that a plan adds to.

    Raises
    ------
    NotThereError
        There is none where this volume's labels are written.
    InputError
        It has another grid than the plan's level, no such time point, or a dtype too narrow for the ids.
    """
    if name not in volume.labels:
        raise NotThereError(
            f"{volume.output_store.location} has no label image {name!r} to add to; leave "
            "--into-existing out to make it"
        )
    labels = volume.labels[name]
    if labels.store.location != volume.output_store.sub(f"labels/{name}").location:
        raise InputError(
            f"{labels.location} is not where this job writes, {volume.output_store.location}; copy it there"
        )
    if labels.shape != source.shape:
        raise InputError(
            f"{labels.location} has {labels.shape} voxels (z, y, x), but level {source.level} of the image has "
            f"{source.shape}; these labels were made for --level {labels.metadata.level}"
        )
    if source.time >= labels.n_times:
        raise InputError(
            f"{labels.location} has {labels.n_times} time points; there is no {source.time}"
        )
    largest = int(np.iinfo(labels.dtype).max)
    over = [one.id for one in objects if one.id > largest]
    if over:
        raise InputError(
            f"object {over[0]} does not fit {labels.location}, which holds {labels.dtype}; the largest id is {largest}"
        )
    return labels


def refuse_existing(plan: Plan, volume: Volume, resume: bool, restart: bool) -> None:
    """Refuse what would replace or mix up labels that nobody asked to replace.

    Raises
    ------
    ExistsError
        There are labels of this name, or this very plan was run before.
    PlanMismatchError
        They are another run's, or were replaced since this one began.
    """
    if plan.existing is not None:
        _refuse_begun(plan, volume, resume, restart)
        return
    from volseg.images.labels import check_label_image

    name, ours = plan.labels.name, is_ours(plan, volume)
    if resume and ours:
        return
    if plan.overwrite or (restart and ours) or not is_there(volume, name):
        check_label_image(volume, name, _permission(plan, plan.overwrite or ours))
        return
    if not resume:
        raise ExistsError(
            f"label image {name!r} exists in {volume.output_store.location}; choose another name, "
            "replace it with --overwrite, add to it with --into-existing, or continue its run with --resume"
        )
    raise PlanMismatchError(_mismatch(plan, volume, name))


def _permission(plan: Plan, overwrite: bool) -> Permission:
    from volseg.images.targets.permission import Permission

    return Permission(overwrite, plan.overwrite_edits)


def _refuse_begun(plan: Plan, volume: Volume, resume: bool, restart: bool) -> None:
    ledger = Ledger(volume.output_store, plan.hash)
    if restart or not _is_begun(ledger):
        return
    if not resume:
        raise ExistsError(
            f"this very job was begun before (run {plan.hash[:12]} at {volume.output_store.location}); "
            "go on with --resume, or do it anew with --restart"
        )
    numbers = {marker.result["number"] for marker in ledger.markers("record")}
    if numbers and not numbers <= _own_records(plan, volume.labels[plan.labels.name]):
        raise PlanMismatchError(
            f"label image {plan.labels.name!r} of {volume.output_store.location} was replaced since run "
            f"{plan.hash[:12]} began; start it anew with --restart"
        )


def _is_begun(ledger: Ledger) -> bool:
    return ledger.store.head(ledger.key("plan.json")) is not None


def _own_records(plan: Plan, labels: Labels) -> set[int]:
    """Numbers of the records that a plan's runs have in the journal."""
    from volseg.editing.index import JournalIndex

    runs = JournalIndex(labels).runs()
    return {n for n, operation in runs if (operation.run or {}).get("plan") == plan.hash}


def is_there(volume: Volume, name: str) -> bool:
    """Whether a label image is whole: one that a killed job was creating is not listed yet, a deleted one may be."""
    if name not in volume.labels:
        return False
    try:
        return bool(volume.labels[name].levels)
    except NotThereError:
        return False


def is_ours(plan: Plan, volume: Volume) -> bool:
    """Whether the label image, as it is now, is one that a run of this plan began: it holds the plan's prompts."""
    record = read_lease(volume.output_store, plan.labels.name)
    return (record is not None and record.run == plan.hash) or _holds_prompts(plan, volume)


def _holds_prompts(plan: Plan, volume: Volume) -> bool:
    key = f"labels/{plan.labels.name}/{prompts_key(plan)}"
    return volume.output_store.head(key) is not None


def _mismatch(plan: Plan, volume: Volume, name: str) -> str:
    start = f"label image {name!r} of {volume.output_store.location} was "
    end = "; resume with the arguments of that run, or start anew with --overwrite"
    try:
        other = stored_plan(volume, name)
    except VolsegError:
        return f"{start}not made by a run{end}"
    parts = ", ".join(plan.differences(other)) or "nothing but its version"
    return f"{start}made by another plan, {other.hash[:12]}, which differs in {parts}{end}"


def finished_report(plan: Plan, volume: Volume, ledger: Ledger) -> dict[str, Any] | None:
    """The report of a run that is done already, of labels that are still there; else None."""
    report: dict[str, Any] | None = ledger.read_json(REPORT)
    if report is None or report["status"] != "done" or not is_ours(plan, volume):
        return None
    return report if is_there(volume, plan.labels.name) else None


# --- the first writes ----------------------------------------------------------------------------------------------


def prepare(plan: Plan, volume: Volume, ledger: Ledger, lease: Lease, resume: bool) -> None:
    """Plan, label image and prompts, each harmless to repeat; undone where the first of them can't be written."""
    ours = lease.previous is not None and lease.previous.run == plan.hash
    ours = ours or _holds_prompts(plan, volume) or (plan.existing is not None and _is_begun(ledger))
    exists = is_there(volume, plan.labels.name)
    try:
        if not (resume and ours):
            ledger.delete()
        elif not exists:
            _forget_labels(ledger, plan)
        ledger.write_plan(plan.to_json())
        if plan.existing is not None:
            _name_attempt(ledger)
        elif not (resume and ours and exists):
            _create_labels(plan, volume, overwrite=exists or ours)
        _write_prompts(plan, volume)
    except BaseException:
        if not ours:
            with suppress(VolsegError, OSError):
                ledger.delete()
                if not exists:
                    lease.forget()
        raise


def _forget_labels(ledger: Ledger, plan: Plan) -> None:
    """The label image is gone, so whatever wrote it is not done."""
    stages = ["compose", "objects", *(f"pyramid-{i}" for i in range(len(plan.geometry.levels)))]
    for stage in stages:
        ledger.store.delete_all(ledger.key(f"done/{stage}"))


def _name_attempt(ledger: Ledger) -> None:
    from volseg.pipelines.segmentation.record_stage import TOKEN

    if ledger.read_json(TOKEN) is None:
        ledger.write_json(TOKEN, uuid.uuid4().hex)


def _create_labels(plan: Plan, volume: Volume, *, overwrite: bool) -> None:
    channels = plan.source.channels
    volume.create_labels(
        plan.labels.name,
        plan.labels.dtype,
        level=plan.source.level,
        channel=channels[0] if len(channels) == 1 else list(channels),
        chunks=plan.geometry.chunk,
        overwrite=overwrite,
        overwrite_edits=plan.overwrite_edits,
        category=plan.labels.category,
    )


def _write_prompts(plan: Plan, volume: Volume) -> None:
    """What was asked, beside what comes of it; and the ids are nobody else's from now on."""
    from volseg.editing.ids import reserve_ids
    from volseg.prompts import Layer, PromptSet

    labels = volume.labels[plan.labels.name]
    reserve_ids(labels, max(one.id for one in plan.objects), f"run {plan.hash[:12]}")
    channels = plan.source.channels
    layer = Layer(
        name=plan.labels.name,
        channel=channels[0] if len(channels) == 1 else channels,
        category=plan.labels.category,
    )
    objects = tuple(one.model_copy(update={"layer": None}) for one in plan.objects)
    prompts = PromptSet(layers=(layer,), objects=objects)
    labels.store.put(prompts_key(plan), prompts.to_json().encode())


def prompts_key(plan: Plan) -> str:
    """Where a plan's prompts lie, in the label image's store."""
    return f"volseg/prompts/{plan.hash}.json"
