"""``nano``: the small Segment Anything Model that ships with volseg. ``build`` makes one, ``load`` a trained one.

Names load on first use: to know which versions ship takes no torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
