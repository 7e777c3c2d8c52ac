from .api import objects as objects
from .api import open as open  # noqa: A004
from .api import pixels as pixels
from .api import plan as plan
from .api import run as run
from .evaluation import evaluate as evaluate
from .exporting import export as export
from .images.create import create_volume as create_volume
from .images.scale_correction import set_scale as set_scale
from .importing import import_labels as import_labels
from .importing import import_volume as import_volume
from .pipelines.automatic import automatic as automatic
from .pipelines.finetuning import finetune as finetune
from .pipelines.segmentation import segment as segment
from .prompts import load_prompts as load_prompts
from .prompts import prompts_from_labels as prompts_from_labels

__version__: str
