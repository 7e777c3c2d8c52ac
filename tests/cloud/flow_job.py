"""`python -m tests.cloud.flow_job make|check PLACE`: a volume for a flow on a cluster, and what it should come to.

A process of its own: the storage library's threads stay in the network where they began.
`make` writes the volume and prints the flow's parameters; `check` segments it here and tells whether the flow's labels
are the same bytes, and on how many hosts they were computed.
"""

from __future__ import annotations

import json
import sys

from tests.cloud.segment_job import stored
from tests.pipelines.segmentation.volumes import make_truth, make_volume, oracle, point_prompts
from volseg.engine.ledger import Ledger
from volseg.images.image import open_volume
from volseg.pipelines.segmentation import make_plan, run

SHAPE, OBJECTS = (48, 80, 72), 24


def make(url: str) -> None:
    """Write the volume."""
    truth = make_truth(SHAPE, OBJECTS, seed=3)
    volume = make_volume(url, truth)
    parameters = {
        "url": url,
        "prompts": point_prompts(truth),
        "labels": "there",
        "model": oracle(volume).model_dump(mode="json"),
    }
    print(json.dumps(parameters), flush=True)


def check(url: str) -> None:
    """Segment here and compare."""
    truth = make_truth(SHAPE, OBJECTS, seed=3)
    volume = open_volume(url)
    plans = {
        name: make_plan(volume, point_prompts(truth), labels=name, model=oracle(volume))
        for name in ("there", "here")
    }
    here = run(plans["here"])
    markers = list(Ledger(volume.output_store, plans["there"].hash).markers("propagate"))
    volume = open_volume(url)
    told = {
        "status": here.status,
        "same": stored(volume, "there") == stored(volume, "here"),
        "objects": len(stored(volume, "there")),
        "hosts": sorted({marker.worker.split("//")[-1].rsplit(":", 1)[0] for marker in markers}),
        "blocks": len(markers),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
