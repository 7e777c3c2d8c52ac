from .job import measure as measure
from .options import FeatureOptions as FeatureOptions
from .plan import MeasurePlan as MeasurePlan
from .planner import make_plan as make_plan
