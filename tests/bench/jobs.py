"""Figures of the engine: overhead, scaling, resume, planning, many blocks. One JSON line per benchmark.

Run as `python -m tests.bench.jobs [NAME …]`; without names all, at their full sizes. Ratios compare within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.engine.block import Block, Stage
from volseg.engine.cluster import open_cluster
from volseg.engine.ledger import Ledger
from volseg.engine.session import Around, plainly, run_session
from volseg.engine.worker import BlockContext
from volseg.storage import open_store

ROOT = Path(__file__).resolve().parents[2]
PAGE = resource.getpagesize()


@dataclass
class Load(Stage):
    """`count` blocks of `rounds` fixed pieces of arithmetic each; the result tells how long those took alone."""

    count: int
    rounds: int
    name: str = "load"
    uses_gpu: bool = False
    reads_results: bool = False

    def first(self, known: Set[str]) -> Iterable[Block]:
        return (Block(self.name, f"b{i:07d}") for i in range(self.count))

    def total(self) -> int:
        return self.count

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        return ()

    def failed(self, block: Block) -> None:
        raise AssertionError(block)

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        start, cpu = time.perf_counter(), time.thread_time()
        if self.rounds:
            work(self.rounds)
        return {"pure": time.perf_counter() - start, "cpu": time.thread_time() - cpu}


@dataclass
class Bench:
    stages: Sequence[Stage]
    hash: str = "b" * 16


def work(rounds: int) -> float:
    """Arithmetic that takes the same time each round, in one thread."""
    values = np.arange(200_000, dtype=np.float64)
    total = 0.0
    for _ in range(rounds):
        total += float(np.sqrt(values * 1.000001 + total % 3).sum())
    return total


def rounds_for(seconds: float) -> int:
    """How many rounds take about `seconds` here and now."""
    work(50)
    start = time.perf_counter()
    work(200)
    return max(1, round(200 * seconds / (time.perf_counter() - start)))


def run_load(
    stage: Load, client: Any, folder: str, around: Around = plainly
) -> tuple[list[Any], float]:
    """Run the blocks; their markers, and seconds from the first start to the last marker."""
    ledger = Ledger(open_store(folder, create=True), "b" * 16)
    run_session(Bench([stage]), ledger, client=client, around=around)
    markers = list(ledger.markers(stage.name))
    return markers, max(m.ended for m in markers) - min(m.started for m in markers)


def overhead(blocks: int = 200, seconds: float = 1.0, workers: int = 2) -> dict[str, Any]:
    """Wall time ÷ pure compute time on the same workers, by Dask alone and with Prefect around it.

    The `cpu_ratio` is all processor time, the driver's and scheduler's included, ÷ that of the computing alone: it
    holds on a busy machine too, where the other swings.
    """
    found: dict[str, Any] = {"blocks": blocks, "workers": workers}
    rounds = rounds_for(seconds)
    with open_cluster("local", workers=workers, memory=1 << 30) as client:
        for name in ("dask", "prefect"):
            with tempfile.TemporaryDirectory() as folder:
                started, cpu = time.perf_counter(), cpu_seconds(client)
                if name == "dask":
                    markers, wall = run_load(Load(blocks, rounds), client, folder)
                else:
                    markers, wall = through_prefect(Load(blocks, rounds), client, folder)
                pure = sum(m.result["pure"] for m in markers)
                found[f"{name}_ratio"] = round(wall / (pure / workers), 4)
                spent, computing = cpu_seconds(client) - cpu, sum(m.result["cpu"] for m in markers)
                found[f"{name}_cpu_ratio"] = round(spent / computing, 4)
                found[f"{name}_block_s"] = round(pure / blocks, 3)
                found[f"{name}_with_start_s"] = round(time.perf_counter() - started, 2)
                found[f"{name}_wall_s"] = round(wall, 2)
    return found


def cpu_seconds(client: Any) -> float:
    """Processor time of this process, scheduler included, and of all workers."""
    return time.process_time() + sum(client.run(time.process_time).values())


def through_prefect(stage: Load, client: Any, folder: str) -> tuple[list[Any], float]:
    """The same as one task of a flow, with the temporary server of a flow run without one."""

    from prefect import flow

    from flows.telling import as_task

    @flow(name="bench", persist_result=False)
    def bench() -> tuple[list[Any], float]:
        return run_load(stage, client, folder, as_task)

    return bench()


def scaling(blocks: int = 60, seconds: float = 1.0) -> dict[str, Any]:
    """Wall time of one single-threaded worker ÷ that of two, on the same blocks.

    `machine_ratio` is the same of bare processes that only compute, before and after: what two cores, which may share
    more than they should, give at most.
    """
    rounds, walls = rounds_for(seconds), {}
    few = max(1, blocks // 6)
    machine = [bare_ratio(rounds, few)]
    for workers in (1, 2):
        with (
            open_cluster("local", workers=workers, memory=1 << 30) as client,
            tempfile.TemporaryDirectory() as folder,
        ):
            walls[workers] = run_load(Load(blocks, rounds), client, folder)[1]
    machine.append(bare_ratio(rounds, few))
    return {
        "one_s": round(walls[1], 2),
        "two_s": round(walls[2], 2),
        "ratio": round(walls[1] / walls[2], 3),
        "machine_ratio": [round(one, 3) for one in machine],
    }


def bare_ratio(rounds: int, pieces: int) -> float:
    """How much faster two processes compute than one, without volseg and Dask."""
    code = (
        "import sys, time; from tests.bench.jobs import work; work(20); print(flush=True); sys.stdin.readline()\n"
        "start = time.perf_counter(); work(int(sys.argv[1])); print(time.perf_counter() - start)"
    )
    seconds = []
    for count in (1, 2):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(rounds * pieces // count)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )
            for _ in range(count)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # has imported
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        seconds.append(max(float(p.communicate()[0]) for p in processes))
    return seconds[0] / seconds[1]


def many(blocks: int = 100_000, workers: int = 2, in_flight: int = 4) -> dict[str, Any]:
    """No-op blocks through the real scheduler: rate, and the driver's memory on the way.

    `in_flight` is two for each worker. More than that for these workers shows what the driver costs a block with more
    workers: what comes together is handed over and collected together.
    """
    from volseg.engine import executors

    executors.BLOCKS_PER_WORKER = max(1, in_flight // workers)
    samples: list[tuple[int, float]] = []

    def watch(stage: str, done: int, total: int, message: str = "") -> None:
        if done % max(1, blocks // 100) == 0:
            samples.append((done, rss()))
            print(done, round(samples[-1][1], 1), file=sys.stderr, flush=True)

    with (
        open_cluster("local", workers=workers, memory=1 << 30) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        ledger = Ledger(open_store(folder, create=True), "b" * 16)
        started, cpu = time.perf_counter(), time.process_time()
        both = cpu_seconds(client)
        run_session(Bench([Load(blocks, 0)]), ledger, client=client, progress=watch)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        both = cpu_seconds(client) - both
        one = next(iter(ledger.markers("load", ["b0000000"])))
    early = next(mib for done, mib in samples if done >= blocks // 10)
    return {
        "blocks": blocks,
        "in_flight": in_flight,
        "blocks_per_s": round(blocks / wall, 1),
        "ms_per_block": round(1000 * wall / blocks, 3),
        "driver_cpu_ms_per_block": round(1000 * cpu / blocks, 3),
        "worker_cpu_ms_per_block": round(1000 * (both - cpu) / blocks, 3),
        "driver_mib_after_a_tenth": round(early, 1),
        "driver_mib_at_the_end": round(samples[-1][1], 1),
        "driver_mib": [round(mib, 1) for _, mib in samples[:: max(1, len(samples) // 10)]],
        "marker_bytes": len(json.dumps(one.result)),
    }


def plan(side: int = 10_000, objects: int = 5000) -> dict[str, Any]:
    """Planning 10^12 voxels with 5,000 prompted objects, up to the first blocks."""
    from volseg.images.create import create_volume
    from volseg.pipelines.segmentation import make_plan
    from volseg.pipelines.segmentation.job import SegmentJob

    rng = np.random.default_rng(0)
    document = {
        "format": "volseg-prompts", "version": 1, "layers": [{"name": "cells"}],
        "objects": [
            {"id": i + 1, "prompts": [{"z": int(z), "points": [[int(y), int(x), 1]]}]}
            for i, (z, y, x) in enumerate(rng.integers(0, side, (objects, 3)))
        ],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        volume = create_volume(
            f"{folder}/v.zarr", axes="zyx", shape=(side,) * 3, dtype="uint8",
            scale_um=(0.01, 0.01, 0.01), chunks=(64, 256, 256),
        )  # fmt: skip
        before, started = rss(), time.perf_counter()
        made = make_plan(volume, document, model="vit_b", zoom=1)  # planned without the weights
        planned = time.perf_counter() - started
        first = sum(1 for _ in SegmentJob(made).stages[0].first(frozenset()))
        return {
            "voxels": side**3,
            "tiles": made.estimates.tiles_at_most,
            "seconds": round(time.perf_counter() - started, 2),
            "plan_s": round(planned, 2),
            "first_blocks": first,
            "grown_mib": round(rss() - before, 1),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "plan_json_mib": round(len(json.dumps(made.to_json())) / 2**20, 2),
        }


def resume() -> dict[str, Any]:
    """Resuming a finished run, in a fresh process, from its start to its end; and the engine call alone."""
    from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
    from volseg.pipelines.segmentation import make_plan, run

    truth = make_truth((24, 72, 64), 5, seed=8)
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from volseg.pipelines.segmentation import run, stored_plan; from volseg.images.image import open_volume\n"
        "volume = open_volume(sys.argv[1]); plan = stored_plan(volume, 'cells')\n"
        "assert run(plan, resume=True).status == 'done' and 'torch' not in sys.modules\n"
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        volume = make_volume(f"{folder}/v.zarr", truth)
        run(make_plan(volume, point_prompts(truth), model=oracle(volume), window=4, group=2))
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/v.zarr"],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        return {
            "process_s": round(time.perf_counter() - started, 2),
            "call_with_imports_s": round(float(done.stdout), 2),
        }


def rss() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


BENCHES: dict[str, Callable[..., dict[str, Any]]] = {
    "overhead": overhead,
    "scaling": scaling,
    "resume": resume,
    "plan": plan,
    "many": many,
}


def main() -> None:
    """Run the named benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], metavar="NAME")
    parser.add_argument("--blocks", type=int, help="number of blocks, for smaller runs")
    parser.add_argument("--seconds", type=float, help="seconds of a block, for smaller runs")
    parser.add_argument("--in-flight", type=int, help="`many`: blocks handed over at once")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in arguments.names or list(BENCHES):
        given = {name: getattr(arguments, name) for name in ("blocks", "seconds", "in_flight")}
        wanted = BENCHES[name].__code__.co_varnames[: BENCHES[name].__code__.co_argcount]
        chosen = {k: v for k, v in given.items() if v is not None and k in wanted}
        print(json.dumps({"bench": f"jobs-{name}", **BENCHES[name](**chosen)}), flush=True)


if __name__ == "__main__":
    main()
