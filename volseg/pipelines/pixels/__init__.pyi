from .job import PixelResult as PixelResult
from .job import apply as apply
from .job import run as run
from .plan import PixelPlan as PixelPlan
from .planner import make_plan as make_plan
from .preview import Preview as Preview
from .preview import Seen as Seen
from .training import train as train
