"""What a stack costs while it stands as it stands."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from volseg.cloud.failures import aws_client, telling
from volseg.cloud.prices import Prices

if TYPE_CHECKING:
    from volseg.cloud.stack import Status

HOURS_A_MONTH = 730
HEAD_DISK_GB, WORKER_DISK_GB = 40, 120


@dataclass(frozen=True)
class Costs:
    """Running costs.

    Parameters
    ----------
    hour
        US dollars an hour for all that runs now, by what it is; workers at on-demand prices, which
        spot does not exceed.
    month
        US dollars a month for what costs also while nothing runs.
    unknown
        Instance types without a price.
    date
        Of the prices, ISO.
    """

    hour: dict[str, float]
    month: dict[str, float]
    unknown: tuple[str, ...]
    date: str

    def describe(self) -> str:
        """Return lines for people."""
        lines = [f"${value:8.3f} an hour   {name}" for name, value in self.hour.items()]
        lines += [f"${value:8.2f} a month   {name}" for name, value in self.month.items()]
        lines.append(f"${sum(self.hour.values()):8.3f} an hour   all that runs")
        if self.unknown:
            lines.append(f"without a price in deploy/prices.json: {', '.join(self.unknown)}")
        lines.append(
            f"prices of {self.date}, on-demand; spot costs less, transfer out is not in it"
        )
        return "\n".join(lines)


def running_costs(status: Status, prices: Prices, bucket_bytes: int | None) -> Costs:
    """Return what a stack costs as it stands.

    Parameters
    ----------
    status
        Of the stack.
    prices
        The list.
    bucket_bytes
        Size of the bucket; None if unknown.
    """
    kinds: Counter[str] = Counter()
    if status.capacity is not None:
        kinds.update(member.kind for member in status.capacity.members if member.staying)
    hour, month, unknown = {}, {}, []
    for kind, count in sorted(kinds.items()):
        if kind in prices.kinds:
            disk = WORKER_DISK_GB * prices.disk_month / HOURS_A_MONTH
            each = prices.kinds[kind].on_demand + prices.address_hour + disk
            hour[f"{count} × {kind}"] = count * each
        else:
            unknown.append(kind)
    if status.head_kind is not None and status.head_state != "terminated":
        if status.head_state == "running" and status.head_kind in prices.kinds:
            price = prices.kinds[status.head_kind].on_demand + prices.address_hour
            hour[f"head {status.head_kind}"] = price
        elif status.head_kind not in prices.kinds:
            unknown.append(status.head_kind)
        month["head's disk"] = HEAD_DISK_GB * prices.disk_month
    if bucket_bytes is not None:
        month["bucket"] = bucket_bytes / 1e9 * prices.storage_month
    return Costs(hour, month, tuple(unknown), prices.date.isoformat())


def bucket_bytes(bucket: str | None, region: str | None = None) -> int | None:
    """Return a bucket's size as CloudWatch last measured it (daily); None if it never did.

    Parameters
    ----------
    bucket
        Name.
    region
        Overrides that of the environment.
    """
    now = datetime.datetime.now(datetime.UTC)
    with telling(f"asking for the size of {bucket}"):
        found = aws_client("cloudwatch", region).get_metric_statistics(
            Namespace="AWS/S3",
            MetricName="BucketSizeBytes",
            Dimensions=[
                {"Name": "BucketName", "Value": str(bucket)},
                {"Name": "StorageType", "Value": "StandardStorage"},
            ],
            StartTime=now - datetime.timedelta(days=3),
            EndTime=now,
            Period=86400,
            Statistics=["Average"],
        )
    points = sorted(found["Datapoints"], key=lambda point: point["Timestamp"])
    return int(points[-1]["Average"]) if points else None
