from .job import FinetuneResult as FinetuneResult
from .job import finetune as finetune
from .judge import Verdict as Verdict
from .options import FinetuneOptions as FinetuneOptions
