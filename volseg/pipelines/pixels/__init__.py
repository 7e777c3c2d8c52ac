"""Classes of voxels: trained on scribbles, applied to whole volumes as a job.

Names load on first use, so that `volseg --help` imports neither LightGBM nor torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
