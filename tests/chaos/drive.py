"""A driver in a process of its own, to be killed: runs or resumes a plan, optionally armed. One JSON argument."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.killing import Kill, arm
from volseg.engine import open_cluster
from volseg.pipelines.segmentation import Plan, run


def main() -> None:
    """Run what the argument says."""
    order = json.loads(sys.argv[1])
    plan = Plan.from_json(json.loads(Path(order["plan"]).read_text()))
    if order.get("kill"):
        arm(Kill(**order["kill"]))
    where = open_cluster(order["cluster"]) if order.get("cluster") else nullcontext()
    with where as client:
        run(plan, client, resume=True)


if __name__ == "__main__":
    main()
