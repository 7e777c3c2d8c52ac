"""Jobs: plan → blocks → ledger → run on Dask or in this process, resumable wherever it was interrupted.

Names load on first use, so that looking at runs or resuming a finished one imports neither Dask nor torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
