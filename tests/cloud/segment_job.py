"""`python -m tests.cloud.segment_job SCHEDULER PLACE`: a whole segment job on a cluster, and the same without one.

Prints a line per block that ended, and at last JSON: how both ended, and whether the labels are the same bytes.
"""

from __future__ import annotations

import json
import sys

from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.engine.ledger import Ledger
from volseg.images.image import Volume, open_volume
from volseg.pipelines.segmentation import make_plan, run, run_on_cluster


def stored(volume: Volume, name: str) -> dict[str, bytes]:
    """The voxels' objects of a label image, as stored."""
    below = volume.output_store.sub(f"labels/{name}")
    return {s.key: below.get(s.key) for s in below.list() if s.key[0].isdigit()}


def tell(stage: str, done: int, total: int, message: str = "") -> None:
    """Print progress for whoever waits to do harm."""
    print(json.dumps({"stage": stage, "done": done}), flush=True)


def main(scheduler: str, place: str) -> None:
    """Segment on the cluster, then here, and compare."""
    truth = make_truth((36, 80, 72), 8, seed=3)
    volume = make_volume(f"{place}/v.zarr", truth)
    plans = {
        name: make_plan(
            open_volume(f"{place}/v.zarr"),
            point_prompts(truth),
            labels=name,
            model=oracle(volume),
            window=4,
            group=2,
        )
        for name in ("there", "here")
    }
    there = run_on_cluster(plans["there"], scheduler, progress=tell)
    here = run(plans["here"])
    markers = Ledger(volume.output_store, plans["there"].hash).markers("propagate")
    result = open_volume(f"{place}/v.zarr")
    told = {
        "there": there.status,
        "here": here.status,
        "same": stored(result, "there") == stored(result, "here"),
        "objects": len(stored(result, "there")),
        "hosts": len({marker.worker.rsplit(":", 1)[0] for marker in markers}),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
