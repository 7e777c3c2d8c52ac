"""Whole volumes without a click, as a job: proposals that are then segmented as a person's prompts, or regions.

Names load on first use, so that `volseg --help` imports no torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
