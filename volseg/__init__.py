"""volseg: distributed Segment Anything for OME-Zarr volumes larger than one machine.

The public names stand in `__init__.pyi` and load their rooms when first used, so that `import volseg` costs next to
nothing.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
