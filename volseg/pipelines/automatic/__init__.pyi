from .automate import AutoResult as AutoResult
from .automate import automatic as automatic
from .automate import run_automatic as run_automatic
from .plan import AutoPlan as AutoPlan
from .planner import make_plan as make_plan
