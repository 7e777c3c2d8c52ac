"""The names of `import volseg` that are not called so where they are made."""

from __future__ import annotations

from volseg.volume.image import open_volume as open  # noqa: A004

__all__ = ["open"]
