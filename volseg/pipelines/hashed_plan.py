"""What plans of every kind of work have in common: a hash that names them, JSON, and a memory that is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from volseg.errors import MemoryBudgetError, PlanMismatchError


class HashedPlan(BaseModel):
    """A plan is a value: its hash is over everything that changes geometry or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_hashed: ClassVar[Set[str]] = frozenset()
    """Fields that change neither."""

    @property
    def hash(self) -> str:
        """Names the plan: 32 hex digits of SHA-256 over everything that changes geometry or output."""
        text = json.dumps(self.hashed(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def hashed(self) -> dict[str, Any]:
        """Return what the hash is over, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.not_hashed))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, with its hash."""
        return {**self.model_dump(mode="json"), "hash": self.hash}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the plan of `to_json`.

        Raises
        ------
        PlanMismatchError
            It was written by another version of volseg, or changed since.
        """
        body = {key: part for key, part in value.items() if key != "hash"}
        try:
            plan = cls.model_validate(body)
        except ValidationError as error:
            raise PlanMismatchError(
                f"the plan {value.get('hash')} is not one of this version of volseg "
                f"({error.error_count()} fields differ, first {error.errors()[0]['loc']}); "
                "start anew with --restart"
            ) from error
        if plan.hash != value.get("hash"):
            raise PlanMismatchError(
                f"the plan says that its hash is {value.get('hash')}, but it is {plan.hash}; "
                "start anew with --restart"
            )
        return plan


def check_memory(
    process_bytes: int, task_bytes: Mapping[str, int], worker_bytes: int, way_out: str
) -> None:
    """Refuse a plan whose largest block does not fit into a worker.

    Parameters
    ----------
    process_bytes, task_bytes
        Memory of an idle worker, and beyond it of a block of each stage.
    worker_bytes
        What a worker may use.
    way_out
        What else to change, as "fewer channels".

    Raises
    ------
    MemoryBudgetError
        With the numbers and what to change.
    """
    stage, task = max(task_bytes.items(), key=lambda item: item[1])
    need = process_bytes + task
    if need > worker_bytes:
        raise MemoryBudgetError(
            f"a block of stage {stage!r} needs {need / 1e9:.2f} GB, but a worker may use "
            f"{worker_bytes / 1e9:.2f} GB; use fewer workers or larger ones, {way_out}"
        )
