from .api import open as open  # noqa: A004
from .evaluation import evaluate as evaluate
from .exporting import export as export
from .importing import import_labels as import_labels
from .importing import import_volume as import_volume
from .jobs import segment as segment
from .prompts import load_prompts as load_prompts
from .prompts import prompts_from_labels as prompts_from_labels
from .volume.scale_correction import set_scale as set_scale

__version__: str
