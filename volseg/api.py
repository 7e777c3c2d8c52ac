"""The names of `import volseg` that are not called so where they are made."""

from __future__ import annotations

from volseg.images.image import open_volume as open  # noqa: A004
from volseg.pipelines import objects, pixels
from volseg.pipelines.segmentation.job import run_on_cluster as run
from volseg.pipelines.segmentation.planner import make_plans as plan

__all__ = ["objects", "open", "pixels", "plan", "run"]
