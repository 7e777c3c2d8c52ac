"""Benchmarks `oracle` and `oracle-noisy`: mean 3D Dice over difficult shapes with a 2D oracle.

`python tests/bench/oracle.py [--noisy] [--rounds N] [--ablation]` prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.propagation.difficult import SHAPES, Case, dice, roughened
from tests.propagation.oracles import NoisyOracle, Oracle
from volseg.propagation import Settings, Track, propagate


def volume_of(track: Track) -> np.ndarray:
    out = np.zeros(track.shape, dtype=bool)
    for z in track.slices:
        out[z] = track.mask(z)
    return out


def one(case: Case, oracle: Oracle, settings: Settings) -> tuple[float, float]:
    """3D Dice and decodes."""
    track = propagate(oracle, case.seeds, settings)[1]
    return dice(volume_of(track), case.truth), oracle.decodes


def rounds_of(
    name: str, settings: Settings, noisy: bool, rounds: int, first: int = 0, rough: bool = False
) -> tuple[list[float], list[float]]:
    scores, decodes = [], []
    for k in range(first, first + rounds):
        rng = np.random.default_rng([k, zlib.crc32(name.encode())])
        case = SHAPES[name](rng)
        if rough:
            case = roughened(case, rng)
        if noisy:
            share = float(rng.uniform(0.1, 0.2))
            oracle: Oracle = NoisyOracle(case.visible, k, share, spare=case.seed_z)
        else:
            oracle = Oracle(case.visible, k, ("nothing", "blob", "background")[k % 3])
        score, count = one(case, oracle, settings)
        scores.append(score)
        decodes.append(count)
    return scores, decodes


def run(
    settings: Settings, noisy: bool, rounds: int, first: int = 0, rough: bool = False
) -> dict[str, Any]:
    shapes, worst, decodes = {}, {}, []
    began = time.perf_counter()
    for name in SHAPES:
        scores, counts = rounds_of(name, settings, noisy, rounds, first, rough)
        shapes[name], worst[name] = float(np.mean(scores)), float(np.min(scores))
        decodes += counts
    return {
        "mean": float(np.mean(list(shapes.values()))),
        "worst_mean": min(shapes.values()),
        "shapes": {name: round(v, 3) for name, v in shapes.items()},
        "worst": {name: round(v, 3) for name, v in worst.items()},
        "decodes_per_object": round(float(np.mean(decodes)), 1),
        "seconds": round(time.perf_counter() - began, 1),
    }


OFF: dict[str, dict[str, Any]] = {
    "gap patience": {"patience": 0},
    "choice among candidates": {"choose": False},
    "motion": {"motion": False},
    "relaxed acceptance": {"relaxed": False},
    "box and wide box": {"retry": False},
    "search around the seed": {"search": False},
    "neck split": {"split": False},
    "confirmation by a second prompt": {"support": False},
    "trust in steady scores": {"weight_trust": 0.0},
    "glitch memory": {"glitches": False},
    "bridging": {"bridge": False},
    "trimmed ends": {"trim": False},
    "velocity sought on both sides of a seed": {"mirror": False},
    "runs tried again from their other side": {"retry_runs": False},
    "merged branches followed back": {"return_branches": False},
}


def ablation(rounds: int, first: int, wanted: slice) -> None:
    """Prints a table: what is lost when one rule is off, and with all of them off.

    `wanted` are the rows to print, where not all shall be measured in one run.
    """
    cases: dict[str, dict[str, Any]] = {"all rules": {}}
    cases |= {f"without {name}": off for name, off in OFF.items()}
    cases["none of them"] = {key: value for off in OFF.values() for key, value in off.items()}
    print("| rules | perfect | noisy | decodes per object (noisy) |\n|---|---|---|---|", flush=True)
    for name, changed in list(cases.items())[wanted]:
        settings = Settings(**changed)
        perfect, noisy = run(settings, False, rounds, first), run(settings, True, rounds, first)
        print(
            f"| {name} | {perfect['mean']:.3f} | {noisy['mean']:.3f} "
            f"| {noisy['decodes_per_object']:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noisy", action="store_true")
    parser.add_argument("--rounds", type=int, default=6, help="random instances of each shape")
    parser.add_argument("--first", type=int, default=0, help="first random seed")
    parser.add_argument("--rough", action="store_true", help="outlines that change every slice")
    parser.add_argument("--ablation", action="store_true", help="print the table of the rules")
    parser.add_argument("--rows", type=int, nargs=2, default=(0, 99), help="of that table")
    chosen = parser.parse_args()
    if chosen.ablation:
        ablation(chosen.rounds, chosen.first, slice(*chosen.rows))
        return
    figures = run(Settings(), chosen.noisy, chosen.rounds, chosen.first, chosen.rough)
    target = {"mean": 0.85} if chosen.noisy else {"worst_mean": 0.98}
    name = "oracle-noisy" if chosen.noisy else "oracle"
    print(json.dumps({"benchmark": name, "target": target, **figures}))


if __name__ == "__main__":
    main()
