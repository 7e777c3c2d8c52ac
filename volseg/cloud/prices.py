"""What time on instances costs: the dated list of `deploy/prices.json`, fleets, estimates.

Prices and speeds there are neither fetched nor measured; `deploy/README.md` says how the speeds were derived.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.cloud.files import deploy_file
from volseg.errors import InputError, NotThereError

if TYPE_CHECKING:
    from volseg.pipelines.segmentation.plan import Plan

OWN_LIST = "VOLSEG_PRICES"
"""Environment variable that names a price list of one's own."""

_FLEET = re.compile(r"ec2:([a-z0-9-]+\.[a-z0-9]+)(?:\*([1-9]\d{0,3}))?")


@dataclass(frozen=True)
class Kind:
    """One instance type.

    Parameters
    ----------
    name
        Such as ``"g6.xlarge"``.
    on_demand, spot
        US dollars an hour; spot is a typical price, and None where none is listed.
    gpus
        Workers on one instance (at least 1, also without a GPU).
    encodes_per_s, decodes_per_s
        Embeddings and decoder calls a second per worker, by model.
    """

    name: str
    on_demand: float
    spot: float | None
    gpus: int
    encodes_per_s: dict[str, float]
    decodes_per_s: dict[str, float]


@dataclass(frozen=True)
class Prices:
    """A dated price list.

    Parameters
    ----------
    date
        When the prices held.
    region
        Where.
    kinds
        By name.
    storage_month
        US dollars per GB and month in the bucket.
    requests_1000
        US dollars per 1,000 GET and PUT requests.
    address_hour
        US dollars an hour for an instance's public address.
    disk_month
        US dollars per GB and month of an instance's disk.
    decodes_per_slice
        Decoder calls per object and slice, on average.
    """

    date: datetime.date
    region: str
    kinds: dict[str, Kind]
    storage_month: float
    requests_1000: dict[str, float]
    address_hour: float
    disk_month: float
    decodes_per_slice: float

    def kind(self, name: str) -> Kind:
        """Return one instance type.

        Raises
        ------
        InputError
            If the list has none of this name.
        """
        try:
            return self.kinds[name]
        except KeyError:
            raise InputError(
                f"no price for {name!r} in deploy/prices.json ({self.date}); it has "
                f"{', '.join(sorted(self.kinds))}"
            ) from None


@dataclass(frozen=True)
class Fleet:
    """Instances of one type, as ``ec2:g6.xlarge*40`` names them."""

    kind: str
    count: int


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    Parameters
    ----------
    worker_s
        Seconds of work on one worker.
    wall_s
        Seconds on the whole fleet, its start included.
    on_demand, spot
        US dollars; spot None where the list has no such price.
    date, region
        Of the prices.
    fleet
        On which.
    """

    worker_s: float
    wall_s: float
    on_demand: float
    spot: float | None
    date: datetime.date
    region: str
    fleet: Fleet

    def describe(self) -> str:
        """Return two sentences for people."""
        spot = "" if self.spot is None else f", about ${self.spot:.2f} at typical spot prices"
        return (
            f"{self.fleet.count} × {self.fleet.kind}: {_time(self.wall_s)} "
            f"({_time(self.worker_s)} on one worker), ${self.on_demand:.2f} on-demand{spot} "
            f"at most, if every object went through the whole stack. Prices of {self.date} in {self.region} "
            "and speeds not measured on it: check both (deploy/README.md)"
        )


def parse_fleet(text: str) -> Fleet:
    """Read ``ec2:TYPE`` or ``ec2:TYPE*COUNT``.

    Raises
    ------
    InputError
        If it is neither.
    """
    found = _FLEET.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r}: expected ec2:TYPE*COUNT, such as ec2:g6.xlarge*40")
    return Fleet(found.group(1), int(found.group(2) or 1))


def load_prices(path: Path | None = None) -> Prices:
    """Read a price list.

    Parameters
    ----------
    path
        By default what ``VOLSEG_PRICES`` names, else the project's own `deploy/prices.json`.

    Raises
    ------
    InputError
        If the file lacks something; the message names it.
    NotThereError
        If there is no such file.
    """
    own = os.environ.get(OWN_LIST)
    path = path or (Path(own) if own else deploy_file("prices.json"))
    try:
        raw = json.loads(path.read_text())
        speeds = raw.get("speeds", {})
        return Prices(
            date=datetime.date.fromisoformat(raw["date"]),
            region=raw["region"],
            kinds={name: _kind(name, values, speeds) for name, values in raw["instances"].items()},
            storage_month=float(raw["storage_gb_month"]),
            requests_1000={name: float(price) for name, price in raw["requests_1000"].items()},
            address_hour=float(raw["public_address_hour"]),
            disk_month=float(raw["disk_gb_month"]),
            decodes_per_slice=float(raw["decodes_per_object_slice"]),
        )
    except FileNotFoundError as error:
        raise NotThereError(f"{path}: no such price list ({OWN_LIST} names it)") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a price list ({error!r})") from error


def estimate(
    prices: Prices, fleet: Fleet, worker_s: float, *, parts: int, start_s: float = 300.0
) -> Estimate:
    """Return time and cost of a run on a fleet.

    Parameters
    ----------
    prices, fleet
        The list and the instances.
    worker_s
        Seconds of work if one worker did all of it.
    parts
        Largest number of workers that can be busy at a time.
    start_s
        Seconds until an instance works: boot, image, model. Paid for on every instance.
    """
    kind = prices.kind(fleet.kind)
    workers = max(1, min(fleet.count * kind.gpus, parts))
    wall_s = start_s + worker_s / workers
    hours = wall_s * fleet.count / 3600
    extra = prices.address_hour + 120 * prices.disk_month / 730
    return Estimate(
        worker_s,
        wall_s,
        hours * (kind.on_demand + extra),
        None if kind.spot is None else hours * (kind.spot + extra),
        prices.date,
        prices.region,
        fleet,
    )


def worker_seconds(
    prices: Prices, kind: str, model: str, *, embeddings: int, decodes: int
) -> float:
    """Return the seconds that one worker needs for so many embeddings and decoder calls.

    Raises
    ------
    InputError
        If the list has no figure for this model on this type.
    """
    found = prices.kind(kind)
    if model not in found.encodes_per_s or model not in found.decodes_per_s:
        raise InputError(
            f"deploy/prices.json has no speed of {model} on {kind}; run a small job there, write "
            f"encodes_per_s and decodes_per_s into a copy, and let {OWN_LIST} name it"
        )
    return embeddings / found.encodes_per_s[model] + decodes / found.decodes_per_s[model]


def estimate_plan(plan: Plan, fleet: Fleet, prices: Prices) -> Estimate:
    """Return time and cost of a segment job on a fleet, if every object went through the stack.

    Parameters
    ----------
    plan
        Of `volseg.pipelines.segmentation.make_plan`.
    fleet, prices
        As of `parse_fleet` and `load_prices`.

    Raises
    ------
    InputError
        If the list has no figure for the plan's model on this type.
    """
    variant = getattr(plan.predictor, "variant", plan.predictor.kind)
    estimates, objects = plan.estimates, len(plan.objects)
    slices = plan.source.shape[0]
    seconds = worker_seconds(
        prices,
        fleet.kind,
        variant,
        embeddings=estimates.tiles_at_most,
        decodes=round(prices.decodes_per_slice * objects * slices),
    )
    # a group of objects goes up and down at the same time, but slice after slice
    parts = 2 * max(1, estimates.blocks_at_most["seed"])
    return estimate(prices, fleet, seconds, parts=parts)


def _kind(name: str, values: dict[str, Any], speeds: dict[str, Any]) -> Kind:
    """One instance; its speeds are its own, or those of a kind of GPU that it is at least as fast as."""
    spot = values.get("spot")
    rates = speeds[values["as_fast_as"]] if "as_fast_as" in values else values
    return Kind(
        name,
        float(values["on_demand"]),
        None if spot is None else float(spot),
        max(1, int(values["gpus"])),
        _rates(rates.get("encodes_per_s", {})),
        _rates(rates.get("decodes_per_s", {})),
    )


def _rates(values: dict[str, Any]) -> dict[str, float]:
    return {model: float(rate) for model, rate in values.items()}


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
