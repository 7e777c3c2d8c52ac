"""What the head node does, told through one object in the bucket: nobody has a way in to ask."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from typing import Any

from volseg.cloud.failures import code_of, telling

STALE_S = 300
"""Older than this, and what it says is only the past."""


@dataclass(frozen=True)
class Activity:
    """One look at scheduler and Prefect.

    Parameters
    ----------
    time
        When, ISO 8601 in UTC.
    workers, tasks
        Connected workers; tasks they have or that wait for them.
    clients
        Jobs and people connected to the scheduler.
    flow_runs
        Names of the flow runs that are running.
    """

    time: str
    workers: int
    tasks: int
    clients: int
    flow_runs: tuple[str, ...] = ()

    @classmethod
    def now(
        cls, workers: int, tasks: int, clients: int, flow_runs: tuple[str, ...] = ()
    ) -> Activity:
        """Return one of this moment."""
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(time, workers, tasks, clients, flow_runs)

    @property
    def age_s(self) -> float:
        """Seconds since it was told."""
        then = datetime.datetime.fromisoformat(self.time)
        return (datetime.datetime.now(datetime.UTC) - then).total_seconds()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nobody is connected."""
        return not (self.workers or self.tasks or self.clients or self.flow_runs)

    def describe(self) -> list[str]:
        """Return what runs, in words; empty where nothing does or where this is stale."""
        if self.age_s > STALE_S:
            return []
        found = []
        if self.tasks:
            found.append(f"{self.tasks} tasks on {self.workers} Dask workers")
        found += [f"flow run {name}" for name in self.flow_runs]
        return found


def write_activity(s3: Any, bucket: str, stack: str, activity: Activity) -> None:
    """Put what the head does into the bucket."""
    with telling(f"telling what {stack} does"):
        s3.put_object(Bucket=bucket, Key=_key(stack), Body=json.dumps(asdict(activity)).encode())


def read_activity(s3: Any, bucket: str, stack: str) -> Activity | None:
    """Return what the head last told, or None if it never did."""
    from botocore.exceptions import ClientError

    with telling(f"asking what {stack} does"):
        try:
            found = s3.get_object(Bucket=bucket, Key=_key(stack))["Body"].read()
        except ClientError as error:
            if code_of(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                return None
            raise
    raw = json.loads(found)
    return Activity(**(raw | {"flow_runs": tuple(raw["flow_runs"])}))


def _key(stack: str) -> str:
    return f"scratch/volseg-{stack}/activity.json"
