"""Fine-tuning as a kind of work: a decoder learns from the objects of label images, and is judged before it learns.

Names load on first use, so that `volseg --help` imports no torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
