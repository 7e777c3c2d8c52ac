"""volseg: distributed Segment Anything for OME-Zarr volumes larger than one machine.

The names below load their rooms when first used, so that `import volseg` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from volseg.evaluation import evaluate
    from volseg.exporting import export
    from volseg.importing import import_labels, import_volume
    from volseg.jobs import segment
    from volseg.prompts import load_prompts, prompts_from_labels
    from volseg.volume.image import open_volume as open  # noqa: A004
    from volseg.volume.scale_correction import set_scale

__all__ = [
    "__version__",
    "evaluate",
    "export",
    "import_labels",
    "import_volume",
    "load_prompts",
    "open",
    "prompts_from_labels",
    "segment",
    "set_scale",
]

_WHERE = {
    "evaluate": ("volseg.evaluation", "evaluate"),
    "export": ("volseg.exporting", "export"),
    "import_labels": ("volseg.importing", "import_labels"),
    "import_volume": ("volseg.importing", "import_volume"),
    "load_prompts": ("volseg.prompts", "load_prompts"),
    "open": ("volseg.volume.image", "open_volume"),
    "prompts_from_labels": ("volseg.prompts", "prompts_from_labels"),
    "segment": ("volseg.jobs", "segment"),
    "set_scale": ("volseg.volume.scale_correction", "set_scale"),
}


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use (PEP 562)."""
    try:
        module, attribute = _WHERE[name]
    except KeyError:
        raise AttributeError(f"module 'volseg' has no attribute {name!r}") from None
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
