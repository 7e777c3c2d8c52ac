"""Objects as a kind of work: measured block by block, classes learned from a few and given to all, sorted, summed up.

Names load on first use, so that `volseg --help` imports neither Dask nor a learner.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
