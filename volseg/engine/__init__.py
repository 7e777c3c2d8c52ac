"""Blocks, stages, driver, ledger, lease and executors: how work is parted, run on Dask or here, and resumed.

Nothing here knows pixels, masks or models. Names load on first use: reading a ledger imports no Dask.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
