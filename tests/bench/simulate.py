"""A discrete-event simulation of a segment job on many GPU workers: time, cost, and what saturates first.

Run as `python -m tests.bench.simulate`; prints one JSON line per number of workers. Speeds and prices of an instance
are those of the price list (`deploy/prices.json`, or what ``VOLSEG_PRICES`` names), as for estimates by `--plan-only`;
the other figures that go in are measured (`docs/scale.md` says where) or stated as assumptions there. Nothing here runs
volseg.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from volseg.cloud.prices import Fleet, estimate, load_prices


@dataclass(frozen=True)
class World:
    """What the simulation knows of the job and the machines.

    Parameters
    ----------
    embed_s, decode_s, rounds
        Seconds per tile embedding and per prompt in a full batch, all in; decoder calls per object and slice.
    dollars_per_hour
        Of one worker, with its address and disk.
    depth, side
        Slices, and voxels along y and x.
    tile_stride
        Voxels from one tile to the next.
    objects, object_slices, group
        Prompted objects, mean slices that one goes through, objects of a block.
    spread
        Slices that a group's objects cover together ÷ those of one, as they start on different slices.
    window
        Slices of a block.
    embedding_bytes, image_bytes_per_tile
        Stored per tile embedding (float16), read per tile and slice.
    request_s, bytes_per_s
        Latency of a storage request; bandwidth of one worker.
    requests_per_block
        Of the ledger: start note, lease, data, marker.
    slices_per_embedding, chunks_per_tile
        Slices of a tile in one stored object; objects of the image read per tile and slice.
    driver_s
        Time of the one driver per block: submit, collect, note.
    gets_per_s, puts_per_s
        What S3 allows per prefix.
    compose_voxels_per_s, compose_voxels
        Of one worker; voxels of a compose block.
    """

    embed_s: float
    decode_s: float
    rounds: float
    dollars_per_hour: float
    depth: int = 10_000
    side: int = 10_000
    tile_stride: int = 768
    objects: int = 5_000
    object_slices: float = 200.0
    group: int = 8
    spread: float = 2.5
    window: int = 16
    embedding_bytes: float = 2.1e6
    image_bytes_per_tile: float = 1.05e6
    request_s: float = 0.030
    bytes_per_s: float = 250e6
    requests_per_block: int = 6
    slices_per_embedding: float = 2.0
    chunks_per_tile: float = 1.6
    driver_s: float = 0.004
    gets_per_s: float = 5_500.0
    puts_per_s: float = 3_500.0
    compose_voxels_per_s: float = 60e6
    compose_voxels: float = 33e6


def world_on(instance: str, model: str, **given: float) -> World:
    """The world with the price list's figures for a model on an instance with one GPU; `given` replaces any figure."""
    prices = load_prices()
    kind = prices.kind(instance)
    an_hour = estimate(prices, Fleet(instance, 1), 3600.0, parts=1, start_s=0.0)
    listed = {
        "embed_s": 1 / kind.encodes_per_s[model],
        "decode_s": 1 / kind.decodes_per_s[model],
        "rounds": prices.decodes_per_slice,
        "dollars_per_hour": an_hour.on_demand,
    }
    return World(**(listed | given))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Outcome:
    """Of one simulated run."""

    workers: int
    hours: float
    dollars: float
    blocks: int
    embeddings: int
    worker_busy: float
    driver_busy: float
    gets_per_s: float
    puts_per_s: float
    longest_chain_hours: float
    first_to_saturate: str


def block_seconds(world: World, fresh_share: float) -> tuple[float, float]:
    """Seconds of a propagate block on a worker, and the tile embeddings that it computes.

    The pipeline overlaps reading with encoding, so the slower of the two counts; `fresh_share` of the embeddings are
    computed, the others are read.
    """
    tiles = world.window * 1.3  # an object near a tile's edge needs two
    fresh = tiles * fresh_share
    active = world.group / world.spread  # objects on a slice
    compute = fresh * world.embed_s + world.window * active * world.rounds * world.decode_s
    moved = fresh * world.image_bytes_per_tile + (tiles - fresh) * world.embedding_bytes
    storage = moved / world.bytes_per_s + world.requests_per_block * world.request_s
    written = fresh * world.embedding_bytes / world.bytes_per_s  # behind the computing
    return max(compute, moved / world.bytes_per_s + written) + (
        storage - moved / world.bytes_per_s
    ), fresh


def sharing(world: World) -> tuple[int, float]:
    """Distinct (tile, slice) pairs that the groups touch, and the share of touches that are the first."""
    tiles = (world.side / world.tile_stride) ** 2
    groups = world.objects / world.group
    span = min(world.depth, world.object_slices * world.spread)
    touches = groups * span * 1.3
    places = tiles * world.depth
    distinct = places * -np.expm1(-touches / places)
    return round(distinct), float(distinct / touches)


def chains(world: World, rng: np.random.Generator) -> list[int]:
    """Blocks of each chain: a group's objects in one direction."""
    groups = -(-world.objects // world.group)
    span = world.object_slices * world.spread / 2
    lengths = np.ceil(rng.gamma(4.0, span / 4.0, 2 * groups) / world.window)
    return [int(n) for n in np.clip(lengths, 1, -(-world.depth // world.window))]


def simulate(world: World, workers: int, seed: int = 0) -> Outcome:
    """Run the propagate chains, then the compose blocks, on `workers`."""
    rng = np.random.default_rng(seed)
    distinct, fresh_share = sharing(world)
    lengths = chains(world, rng)
    seconds, _ = block_seconds(world, fresh_share)
    # what S3 allows is shared by all that work at once; where they ask for more, every block waits in proportion
    at_once = min(workers, len(lengths), seconds / world.driver_s)
    slowdown = max(1.0, *_demand(world, at_once, seconds, fresh_share))
    seconds *= slowdown
    finish, busy, driver = _run_chains(world, workers, lengths, seconds, rng)
    compose = int(np.ceil(world.objects * world.object_slices * 4e4 / world.compose_voxels * 3))
    compose_s = world.compose_voxels / world.compose_voxels_per_s + 6 * world.request_s
    compose_wall = max(compose * compose_s / workers, compose * world.driver_s, compose_s)
    total = finish + compose_wall
    blocks = sum(lengths) + compose
    gets, puts = _demand_per_s(world, sum(lengths), fresh_share, total)
    loads = {
        "the longest chain of windows": max(lengths) * seconds / slowdown / total,
        "the driver": (driver + compose * world.driver_s) / total,
        "S3 requests": 1.0
        if slowdown > 1
        else max(gets / world.gets_per_s, puts / world.puts_per_s),
        "the workers": (busy + compose * compose_s) / (workers * total),
    }
    return Outcome(
        workers,
        round(total / 3600, 3),
        round(total / 3600 * workers * world.dollars_per_hour, 2),
        blocks,
        distinct,
        round(loads["the workers"], 3),
        round(loads["the driver"], 3),
        round(gets, 1),
        round(puts, 1),
        round(max(lengths) * seconds / 3600, 3),
        max(loads, key=lambda name: loads[name]),
    )


def _run_chains(
    world: World, workers: int, lengths: list[int], seconds: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Events: a worker becomes free, a chain's next block becomes ready, the driver hands it over."""
    ready = deque(sorted(range(len(lengths)), key=lambda c: -lengths[c]))
    left = list(lengths)
    running: list[tuple[float, int]] = []
    now = driver_free = busy = driver = 0.0
    times = _durations(seconds, rng)
    while ready or running:
        while ready and len(running) < workers:
            chain = ready.popleft()
            driver_free = max(driver_free, now) + world.driver_s  # one driver hands over all blocks
            driver += world.driver_s
            duration = next(times)
            busy += duration
            heapq.heappush(running, (driver_free + duration, chain))
        now, chain = heapq.heappop(running)
        left[chain] -= 1
        if left[chain]:
            ready.appendleft(chain)  # begun chains first, as the driver does it
    return now, busy, driver


def _durations(seconds: float, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from (seconds * rng.lognormal(-0.045, 0.3, 4096)).tolist()


def _demand(
    world: World, workers: float, seconds: float, fresh_share: float
) -> tuple[float, float]:
    gets, puts = _demand_per_s(world, 1, fresh_share, seconds / workers)
    return gets / world.gets_per_s, puts / world.puts_per_s


def _demand_per_s(
    world: World, blocks: int, fresh_share: float, seconds: float
) -> tuple[float, float]:
    """GET and PUT requests a second; an embedding object holds a tile of several slices."""
    tiles = world.window * 1.3
    read = fresh_share * world.chunks_per_tile + (1 - fresh_share) / world.slices_per_embedding
    written = fresh_share / world.slices_per_embedding
    gets = blocks * (tiles * read + world.requests_per_block / 2) / seconds
    puts = blocks * (tiles * written + world.requests_per_block / 2) / seconds
    return gets, puts


def main() -> None:
    """Simulate for several numbers of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--instance", default="g6.xlarge", help="of the price list")
    parser.add_argument("--model", default="vit_b")
    for name in ("objects", "group", "window"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("object_slices", "embed_s", "decode_s", "driver_s", "request_s"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    workers = given.pop("workers")
    world = world_on(given.pop("instance"), given.pop("model"), **given)
    for count in workers:
        print(json.dumps({"bench": "simulate", **asdict(simulate(world, count))}), flush=True)


if __name__ == "__main__":
    main()
